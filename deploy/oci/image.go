package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Platform says where an image runs, in Go's words: linux, amd64.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// Image is what a container of one platform starts with.
type Image struct {
	Platform   Platform
	Files      []File
	User       string // uid:gid; "" is root
	Entrypoint []string
	Cmd        []string // arguments when the container has none; none is fine
	Env        []string // name=value
	Labels     map[string]string
}

// File is a regular file of the image, or a folder when its Mode says so. The
// folders above it are made, with mode 0755. All belong to root.
type File struct {
	Name    string // path without leading slash
	Mode    fs.FileMode
	Content []byte
	// Capabilities are those that the file may have (capabilities(7)); 0 is none.
	Capabilities Capabilities
}

// config is the image configuration of the image-spec.
type config struct {
	Platform
	Created string       `json:"created"`
	Config  runConfig    `json:"config"`
	RootFS  rootFS       `json:"rootfs"`
	History []historical `json:"history"`
}

type runConfig struct {
	User       string            `json:"User,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	WorkingDir string            `json:"WorkingDir"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type historical struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

func (i *Image) config(diffID string, created time.Time) config {
	date := created.UTC().Format(time.RFC3339)
	return config{
		Platform: i.Platform,
		Created:  date,
		Config:   runConfig{User: i.User, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, WorkingDir: "/", Labels: i.Labels},
		RootFS:   rootFS{Type: "layers", DiffIDs: []string{diffID}},
		History:  []historical{{Created: date, CreatedBy: "lintel deploy/image"}},
	}
}

// layer is a tar file of the files of an image.
type layer struct {
	compressed []byte
	diffID     string // digest before compression
}

func (i *Image) layer(created time.Time) (layer, error) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, f := range withFolders(i.Files) {
		if err := f.write(w, created); err != nil {
			return layer{}, err
		}
	}
	if err := w.Close(); err != nil {
		return layer{}, err
	}
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		return layer{}, err
	}
	if err := z.Close(); err != nil {
		return layer{}, err
	}
	return layer{compressed: compressed.Bytes(), diffID: digest(plain.Bytes())}, nil
}

// withFolders adds the folders above the files and puts everything in the order of
// names, in which a folder precedes what it holds.
func withFolders(files []File) []File {
	byName := map[string]File{}
	for _, f := range files {
		f.Name = strings.Trim(f.Name, "/")
		byName[f.Name] = f
		for folder := path.Dir(f.Name); folder != "."; folder = path.Dir(folder) {
			if _, given := byName[folder]; !given {
				byName[folder] = File{Name: folder, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	var all []File
	for _, f := range byName {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (f *File) write(w *tar.Writer, created time.Time) error {
	header := &tar.Header{Name: f.Name, Mode: int64(f.Mode.Perm()), ModTime: created, Size: int64(len(f.Content)), Typeflag: tar.TypeReg}
	if f.Mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	if f.Mode.IsDir() {
		header.Name, header.Typeflag = f.Name+"/", tar.TypeDir
	}
	if f.Capabilities != 0 {
		header.PAXRecords = map[string]string{"SCHILY.xattr." + CapabilityAttribute: string(f.Capabilities.Attribute())}
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(f.Content)
	return err
}
