package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeCredentials makes a fresh authority, and returns the flags that tell the API
// server, which will be at an address, of the files that it made.
func (c *ControlPlane) writeCredentials(address netip.Addr) (flags []string, err error) {
	if c.ca, err = newAuthority(); err != nil {
		return nil, err
	}
	server, err := c.ca.server(address)
	if err != nil {
		return nil, err
	}
	kubelets, err := c.ca.client("kube-apiserver", "system:masters")
	if err != nil {
		return nil, err
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	tokenKey, err := encodeKey(tokens)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		path    string
		content []byte
		flags   []string
	}{
		{c.AuthorityFile(), c.ca.pem, []string{"--client-ca-file", "--kubelet-certificate-authority"}},
		{c.file("apiserver.crt"), server.certificate, []string{"--tls-cert-file"}},
		{c.file("apiserver.key"), server.key, []string{"--tls-private-key-file"}},
		{c.file("kubelet-client.crt"), kubelets.certificate, []string{"--kubelet-client-certificate"}},
		{c.file("kubelet-client.key"), kubelets.key, []string{"--kubelet-client-key"}},
		{c.TokenKeyFile(), tokenKey, []string{"--service-account-key-file", "--service-account-signing-key-file"}},
	} {
		if err := os.WriteFile(f.path, f.content, 0o600); err != nil {
			return nil, fmt.Errorf("write credentials: %w", err)
		}
		for _, flag := range f.flags {
			flags = append(flags, flag+"="+f.path)
		}
	}
	return flags, nil
}

func (c *ControlPlane) file(name string) string { return filepath.Join(c.dir, name) }

// AuthorityFile is the path of the certificate of the authority that has signed all
// others.
func (c *ControlPlane) AuthorityFile() string { return c.file("ca.crt") }

// TokenKeyFile is the path of the key that signs the tokens of service accounts.
func (c *ControlPlane) TokenKeyFile() string { return c.file("tokens.key") }

// User is someone whom the API server is to know.
type User struct {
	Name      string
	Group     string       // "" for none
	Addresses []netip.Addr // where the user serves TLS itself, with the same certificate
}

// UserFiles are the paths of a user's credentials.
type UserFiles struct{ Certificate, Key, Kubeconfig string }

// AddUser issues credentials, in files whose names begin with NAME.
func (c *ControlPlane) AddUser(name string, u User) (UserFiles, error) {
	pair, err := c.ca.client(u.Name, u.Group, u.Addresses...)
	if err != nil {
		return UserFiles{}, err
	}
	f := UserFiles{c.file(name + ".crt"), c.file(name + ".key"), c.file(name + ".kubeconfig")}
	if err := os.WriteFile(f.Certificate, pair.certificate, 0o600); err != nil {
		return UserFiles{}, fmt.Errorf("write credentials: %w", err)
	}
	if err := os.WriteFile(f.Key, pair.key, 0o600); err != nil {
		return UserFiles{}, fmt.Errorf("write credentials: %w", err)
	}
	return f, c.writeKubeconfig(f.Kubeconfig, pair)
}

func (c *ControlPlane) writeKubeconfig(path string, user keyPair) error {
	const name = "lintel-test"
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: c.server, CertificateAuthorityData: c.ca.pem}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {ClientCertificateData: user.certificate, ClientKeyData: user.key}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}
	if err := clientcmd.WriteToFile(config, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}
