// Package oci writes container images without a container engine: each is one
// layer of given files, in an archive that containerd (ctr images import), Podman,
// Skopeo and Docker (docker load) read.
//
// An archive is an OCI image layout in a tar file (image-spec, image-layout.md) with
// the manifest.json of `docker save` added for engines that know only that. It is
// the same, byte for byte, when its input is.
package oci

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Media types of the image-spec.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Archive is what one tar file holds.
type Archive struct {
	// Names are the references under which it is known once it was imported, such
	// as ghcr.io/lintel-dev/lintel:0.1.0; each has a tag.
	Names []string
	// Images are one for each platform, at least one.
	Images []Image
	// Created stands in the images and the layers' files.
	Created time.Time
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *Platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// dockerImage is an entry of manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes the archive.
func (a *Archive) Write(w io.Writer) error {
	if len(a.Images) == 0 || len(a.Names) == 0 {
		return errors.New("write image: it needs a name and a platform")
	}
	for _, name := range a.Names {
		if _, ok := tag(name); !ok {
			return fmt.Errorf("write image: %s has no tag", name)
		}
	}
	out := &writer{tar: tar.NewWriter(w), created: a.Created, blobs: map[string]bool{}}
	var platforms []descriptor
	var docker []dockerImage
	for i := range a.Images {
		platform, legacy, err := a.writeImage(out, &a.Images[i])
		if err != nil {
			return err
		}
		platforms = append(platforms, platform)
		docker = append(docker, legacy)
	}
	root := platforms[0]
	if len(platforms) > 1 {
		root = out.json(indexType, index{SchemaVersion: 2, MediaType: indexType, Manifests: platforms})
	}
	top := index{SchemaVersion: 2, MediaType: indexType}
	for _, name := range a.Names {
		named := root
		version, _ := tag(name)
		// The first is containerd's, the second the image-spec's.
		named.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": version}
		top.Manifests = append(top.Manifests, named)
	}
	out.file("index.json", encode(top))
	out.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	out.file("manifest.json", encode(docker[:1])) // knows no platforms
	if err := out.close(); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

// tag returns what follows the last colon of a reference's last part.
func tag(name string) (string, bool) {
	_, version, found := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	return version, found && version != ""
}

func (a *Archive) writeImage(out *writer, image *Image) (descriptor, dockerImage, error) {
	l, err := image.layer(a.Created)
	if err != nil {
		return descriptor{}, dockerImage{}, fmt.Errorf("make layer: %w", err)
	}
	layer := out.blob(layerType, l.compressed)
	config := out.json(configType, image.config(l.diffID, a.Created))
	described := out.json(manifestType, manifest{SchemaVersion: 2, MediaType: manifestType, Config: config, Layers: []descriptor{layer}})
	described.Platform = &image.Platform
	return described, dockerImage{Config: blobPath(config.Digest), RepoTags: a.Names, Layers: []string{blobPath(layer.Digest)}}, nil
}

// writer writes files into the archive and keeps the first error.
type writer struct {
	tar     *tar.Writer
	created time.Time
	blobs   map[string]bool // by digest: those that are written
	err     error
}

func (w *writer) file(name string, content []byte) {
	if w.err != nil {
		return
	}
	w.err = w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: w.created})
	if w.err == nil {
		_, w.err = w.tar.Write(content)
	}
}

func (w *writer) blob(mediaType string, content []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest(content), Size: len(content)}
	if !w.blobs[d.Digest] {
		w.blobs[d.Digest] = true
		w.file(blobPath(d.Digest), content)
	}
	return d
}

func (w *writer) json(mediaType string, value any) descriptor {
	return w.blob(mediaType, encode(value))
}

func (w *writer) close() error {
	if w.err != nil {
		return w.err
	}
	return w.tar.Close()
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// encode panics where a type of this package can't be JSON.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
