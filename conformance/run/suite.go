package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// suiteTimeout ends a suite that hangs; one with a failure in every test takes long.
const suiteTimeout = "60m"

// runSuite runs the suite against a version of Lintel, and returns how its tests ended. Failed tests are no error.
func (c *cluster) runSuite(ctx context.Context, o options, version string) (results, error) {
	builder, err := binary.NewBuilder(ctx, slog.Default())
	if err != nil {
		return results{}, err
	}
	program, err := builder.Build(ctx, binary.Suite())
	if err != nil {
		return results{}, err
	}
	args := []string{
		program, "-test.v=test2json", "-test.timeout=" + suiteTimeout, "-test.run=^TestConformance$",
		"-gateway-class=" + className, "-conformance-profiles=" + o.profiles,
		"-usable-address=" + usableAddress, "-unusable-address=" + unusableAddress,
		"-cleanup-base-resources=false", // the cluster goes, or is cleaned before the next run
	}
	switch {
	case o.edge:
		args = append(args, "-supported-features="+strings.Join(edgeFeatures(), ","), "-skip-tests="+strings.Join(pastEdge(), ","))
	case o.test == "":
		args = append(args, "-report-output="+filepath.Join(c.output, "report.yaml"), "-organization=lintel-dev", "-project=lintel",
			"-url=https://github.com/lintel-dev/lintel", "-contact=https://github.com/lintel-dev/lintel/issues", "-version="+version)
	}
	if o.test != "" {
		args = append(args, "-run-test="+o.test)
	}
	if !o.edge && (o.test != "" || o.features == featuresAll) { // a single test is not looked up in the status
		args = append(args, "-supported-features="+strings.Join(gatewayFeatures(), ","))
	}
	log, err := os.Create(filepath.Join(c.output, "suite.log"))
	if err != nil {
		return results{}, fmt.Errorf("create log: %w", err)
	}
	defer log.Close()
	if !o.edge {
		return c.follow(ctx, log, args, nil)
	}
	dir, stop, err := c.startEdge(ctx)
	if err != nil {
		return results{}, err
	}
	r, err := c.follow(ctx, log, args, []string{"LINTEL_CONFORMANCE_EDGE=" + dir})
	return r, errors.Join(err, stop())
}

// follow runs the suite and reads its output, which goes to log too.
func (c *cluster) follow(ctx context.Context, log io.Writer, args, environment []string) (results, error) {
	suite := c.command(ctx, args...)
	suite.Env = append(suite.Env, environment...)
	read, write := io.Pipe()
	suite.Stdout = io.MultiWriter(log, write)
	suite.Stderr = suite.Stdout
	events := exec.CommandContext(context.WithoutCancel(ctx), "go", "tool", "test2json", "-t")
	events.Stdin = read
	lines, err := events.StdoutPipe()
	if err != nil {
		return results{}, fmt.Errorf("read results: %w", err)
	}
	if err := events.Start(); err != nil {
		return results{}, fmt.Errorf("read results: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		err := suite.Run()
		ended <- errors.Join(err, write.Close())
	}()
	r, err := readResults(lines)
	if err = errors.Join(err, events.Wait()); err != nil {
		return results{}, fmt.Errorf("read results: %w", err)
	}
	var exit *exec.ExitError
	if err := <-ended; err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return results{}, fmt.Errorf("run suite: %w", errors.Join(err, ctx.Err()))
	}
	return r, nil
}

// gatewayFeatures are all that are not of a service mesh.
func gatewayFeatures() []string {
	mesh := features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures)
	var names []string
	for feature := range features.SetsToNamesSet(features.AllFeatures) {
		if !mesh.Has(feature) {
			names = append(names, string(feature))
		}
	}
	slices.Sort(names)
	return names
}
