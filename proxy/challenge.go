package proxy

import "crypto/tls"

// challengeProtocol is what a CA offers, and nothing beside it, that asks for the
// certificate of a challenge (TLS-ALPN-01, RFC 8737 §3). Nothing is spoken in it.
const challengeProtocol = "acme-tls/1"

// answerChallenges is choose, but for CAs that ask for the certificate of a challenge:
// they have no certificate to show. Others are not told that the protocol exists.
func answerChallenges(base *tls.Config, choose func(*tls.ClientHelloInfo) (*tls.Config, error)) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != challengeProtocol {
			return choose(hello)
		}
		config := base.Clone()
		config.GetConfigForClient, config.NextProtos = nil, []string{challengeProtocol}
		return config, nil
	}
}
