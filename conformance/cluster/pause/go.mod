module github.com/lintel-dev/lintel/conformance/cluster/pause

go 1.27.0

toolchain go1.27.4
