package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindTunnel is the kind of a Tunnel.
const KindTunnel = "Tunnel"

// Tunnel is a Cloudflare Tunnel that Gateways and Ingresses are reached through.
type Tunnel struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TunnelSpec   `json:"spec"`
	Status TunnelStatus `json:"status,omitempty"`
}

// TunnelList is a list of them.
type TunnelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Tunnel `json:"items"`
}

// TunnelSpec is what a person writes.
type TunnelSpec struct {
	Credentials TunnelCredentials `json:"credentials"`
	// Protocol is "" for HTTP2.
	Protocol TunnelProtocol `json:"protocol,omitempty"`
	// LocalSockets is "" for LocalSocketsOpen.
	LocalSockets LocalSockets  `json:"localSockets,omitempty"`
	DNS          *TunnelDNS    `json:"dns,omitempty"`
	Access       *TunnelAccess `json:"access,omitempty"`
	Edge         *TunnelEdge   `json:"edge,omitempty"`
}

// TunnelCredentials are one of its fields.
type TunnelCredentials struct {
	Token  *SecretKey    `json:"token,omitempty"`
	File   *SecretKey    `json:"file,omitempty"`
	Create *TunnelCreate `json:"create,omitempty"`
}

// SecretKey is a key of a Secret in the Tunnel's namespace.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key,omitempty"`
}

// TunnelCreate says how to find or create the tunnel at Cloudflare.
type TunnelCreate struct {
	AccountID string    `json:"accountID"`
	Name      string    `json:"name"`
	APIToken  SecretKey `json:"apiToken"`
}

// TunnelProtocol is how Cloudflare's edge is reached.
type TunnelProtocol string

// The protocols.
const (
	TunnelHTTP2 TunnelProtocol = "HTTP2"
	TunnelQUIC  TunnelProtocol = "QUIC"
	TunnelAuto  TunnelProtocol = "Auto"
)

// LocalSockets says whether Listeners have sockets beside the tunnel.
type LocalSockets string

// Whether they have.
const (
	LocalSocketsOpen   LocalSockets = "Open"
	LocalSocketsClosed LocalSockets = "Closed"
)

// TunnelDNS says which DNS records lead to the tunnel.
type TunnelDNS struct {
	// Mode is "" for TunnelDNSOff.
	Mode     TunnelDNSMode `json:"mode,omitempty"`
	Domains  []string      `json:"domains,omitempty"`
	APIToken *SecretKey    `json:"apiToken,omitempty"`
	Release  string        `json:"release,omitempty"`
}

// TunnelDNSMode is which records there are.
type TunnelDNSMode string

// The modes.
const (
	TunnelDNSOff         TunnelDNSMode = "Off"
	TunnelDNSWildcard    TunnelDNSMode = "Wildcard"
	TunnelDNSPerHostname TunnelDNSMode = "PerHostname"
)

// TunnelAccess lets only those requests in that Cloudflare Access has let in.
type TunnelAccess struct {
	TeamDomain string   `json:"teamDomain"`
	Audiences  []string `json:"audiences"`
}

// TunnelEdge says where the edge is, if it is not Cloudflare's.
type TunnelEdge struct {
	Region    string     `json:"region,omitempty"`
	Addresses []string   `json:"addresses,omitempty"`
	CA        *SecretKey `json:"ca,omitempty"`
}

// TunnelStatus is what became of it.
type TunnelStatus struct {
	ID       string `json:"id,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	// Connected is the number of Connections.
	Connected   *int32             `json:"connected,omitempty"`
	Connections []TunnelConnection `json:"connections,omitempty"`
	LastError   string             `json:"lastError,omitempty"`
	Conditions  []metav1.Condition `json:"conditions,omitempty"`
}

// TunnelConnection is a registered connection to the edge.
type TunnelConnection struct {
	Index    int32          `json:"index"`
	Location string         `json:"location,omitempty"`
	Edge     string         `json:"edge,omitempty"`
	Protocol TunnelProtocol `json:"protocol,omitempty"`
}
