package kube

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"github.com/lintel-dev/lintel/gateway"
)

// Which of the kinds that an API server may lack are there is asked from discovery: soon
// after a CRD changed, a few times more (it is served a moment after it was created),
// then every lookSlowly in any case. So the watch of CRDs makes it prompt, and without
// it (a cluster may not permit it) it still works.
const (
	lookSoon   = 100 * time.Millisecond
	lookSlowly = 30 * time.Second
	// lookRetry is the longest pause while the API server does not answer.
	lookRetry = 2 * time.Second
	// goneAfter is how long a kind must be missing from discovery before its watch
	// ends: an API server that just started may not know its CRDs yet. The objects of
	// a CRD that was really removed are gone before.
	goneAfter = 5 * time.Second
)

// availability is what is known of one kind that may be missing.
type availability struct {
	*kind
	missing time.Time // since when; zero if it is there
	said    string    // the last line logged, so that it is logged once; "" when enabled
	line    string    // what there would be to say
	since   time.Time // of line
}

// lookAgain makes followCRDs look soon. It never blocks.
func (s *Store) lookAgain() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// followCRDs opens and closes feeds as CRDs come and go, until ctx ends.
func (s *Store) followCRDs(ctx context.Context, g *errgroup.Group) error {
	var available []*availability
	for _, k := range s.kinds {
		if !k.resource.Empty() {
			available = append(available, &availability{kind: k})
		}
	}
	for delay := lookSoon; ; delay = min(2*delay, lookSlowly) {
		served, err := s.servedVersions(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.outage.begin(s.log, err)
			delay = min(delay, lookRetry)
		default:
			if err := s.followAll(ctx, g, available, served); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.look:
			delay = lookSoon / 2
		case <-time.After(delay):
		}
	}
}

// followAll acts on an answer of discovery.
func (s *Store) followAll(ctx context.Context, g *errgroup.Group, available []*availability, served map[schema.GroupResource][]string) error {
	s.outage.end(s.log)
	for _, a := range available {
		if err := s.follow(ctx, g, a, served[a.resource]); err != nil {
			return err
		}
	}
	s.discovered.Store(true)
	s.settle()
	return nil
}

// follow acts on the versions in which one kind is served. It is called by one
// goroutine alone, so that a feed that is not open now is not opened in between.
func (s *Store) follow(ctx context.Context, g *errgroup.Group, a *availability, versions []string) error {
	opened := s.openVersion(a.kind)
	if slices.Contains(versions, opened) {
		a.missing = time.Time{}
		return nil
	}
	if a.missing.IsZero() {
		a.missing = time.Now()
	}
	if opened != "" && time.Since(a.missing) < goneAfter {
		return nil // the looks soon after a change reach beyond
	}
	if opened != "" {
		s.end(a.kind)
	}
	if i := slices.IndexFunc(a.versions, func(v string) bool { return slices.Contains(versions, v) }); i >= 0 {
		a.missing = time.Time{}
		if a.said != "" {
			s.log.Info("kind enabled", "kind", a.name)
			a.said = ""
		}
		return s.start(ctx, g, a.kind, a.versions[i])
	}
	if a.resource.Group == gatewayv1.GroupName {
		a.sayDisabled(s.log, versions)
	}
	return nil
}

// sayDisabled logs, once, why the kind is disabled.
func (a *availability) sayDisabled(log *slog.Logger, versions []string) {
	line := "kind disabled: CRD not installed"
	if len(versions) > 0 {
		line = "kind disabled: CRD does not serve version v1"
	}
	if a.line != line {
		a.line, a.since = line, time.Now()
	}
	// The versions of a new CRD appear one after another: another line has to last.
	if a.said == "" || a.said != line && time.Since(a.since) >= goneAfter {
		a.said = line
		log.Warn(line, "kind", a.name, "served", strings.Join(versions, ","))
	}
}

// servedVersions returns the versions in which each resource is served, of the groups
// that have some which may be missing.
func (s *Store) servedVersions(ctx context.Context) (map[schema.GroupResource][]string, error) {
	served := make(map[schema.GroupResource][]string)
	for group := range s.groups() {
		if err := s.discover(ctx, group, served); err != nil {
			return nil, err
		}
	}
	return served, nil
}

// groups are those of kinds which may be missing.
func (s *Store) groups() map[string]bool {
	groups := make(map[string]bool)
	for _, k := range s.kinds {
		if !k.resource.Empty() {
			groups[k.resource.Group] = true
		}
	}
	return groups
}

// discover adds what is served of one group.
func (s *Store) discover(ctx context.Context, name string, served map[schema.GroupResource][]string) error {
	client := s.clients.kubernetes.Discovery().RESTClient()
	group := &metav1.APIGroup{}
	err := client.Get().AbsPath("/apis", name).Do(ctx).Into(group)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("discover versions of %s: %w", name, err)
	}
	for _, v := range group.Versions {
		resources := &metav1.APIResourceList{}
		err := client.Get().AbsPath("/apis", name, v.Version).Do(ctx).Into(resources)
		if apierrors.IsNotFound(err) {
			continue // removed in between
		}
		if err != nil {
			return fmt.Errorf("discover kinds of %s: %w", v.GroupVersion, err)
		}
		for _, r := range resources.APIResources {
			if !strings.Contains(r.Name, "/") { // not a subresource
				resource := schema.GroupResource{Group: name, Resource: r.Name}
				served[resource] = append(served[resource], v.Version)
			}
		}
	}
	return nil
}

// watchCRDs looks again whenever a CRD of a group that is read changed, until ctx ends.
func (s *Store) watchCRDs(ctx context.Context) error {
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	informer := metadatainformer.NewFilteredMetadataInformer(s.clients.metadata, crds, "", 0, nil, nil).Informer()
	if err := informer.SetTransform(nameOnly); err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	said := false // used by the informer's goroutine alone
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) && !said {
			said = true
			s.log.Info("CRDs not watchable: a new CRD is noticed by asking", "interval", lookSlowly, "err", err)
		}
	}); err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	groups := s.groups()
	look := func(o any, gone bool) {
		if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = last.Obj
		}
		m, ok := o.(metav1.Object)
		if !ok {
			return
		}
		if isGatewayCRD(m.GetName()) {
			s.noteCRD(m, gone)
		}
		if _, group, _ := strings.Cut(m.GetName(), "."); groups[group] {
			s.lookAgain()
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { look(o, false) }, UpdateFunc: func(_, is any) { look(is, false) }, DeleteFunc: func(o any) { look(o, true) },
	}); err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// isGatewayCRD reports whether a CRD is one of the Gateway API, of either channel.
func isGatewayCRD(name string) bool {
	return strings.HasSuffix(name, "."+gatewayv1.GroupName) || strings.HasSuffix(name, "."+experimentalGroup)
}

// experimentalGroup is that of kinds which are in the experimental channel alone.
const experimentalGroup = "gateway.networking.x-k8s.io"

// noteCRD notes which release of the Gateway API a CRD is from.
func (s *Store) noteCRD(m metav1.Object, gone bool) {
	crd := gateway.CRD{Name: m.GetName(), Version: m.GetAnnotations()[consts.BundleVersionAnnotation], Channel: m.GetAnnotations()[consts.ChannelAnnotation]}
	s.mu.Lock()
	was, known := s.crds[crd.Name]
	changed := known == gone || !gone && was != crd
	if gone {
		delete(s.crds, crd.Name)
	} else {
		s.crds[crd.Name] = crd
	}
	s.mu.Unlock()
	if changed {
		s.changes.objects()
	}
}

// nameOnly keeps what identifies an object and its version, and the release of the Gateway
// API that it is from.
func nameOnly(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	kept := &metav1.PartialObjectMetadata{
		TypeMeta:   m.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion},
	}
	for _, key := range []string{consts.BundleVersionAnnotation, consts.ChannelAnnotation} {
		if value, ok := m.Annotations[key]; ok {
			metav1.SetMetaDataAnnotation(&kept.ObjectMeta, key, value)
		}
	}
	return kept, nil
}
