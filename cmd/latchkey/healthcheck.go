package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Exit 0 if the local server is ready (for containers)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.loadConfig()
			if err != nil {
				return err
			}
			address, err := localAddress(c.Listen)
			if err != nil {
				return err
			}
			return c.probe(cmd.Context(), address, "/readyz")
		},
	}
}

// localAddress is where this machine reaches a server that listens at an address.
func localAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func (c *config) probe(ctx context.Context, address, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	scheme, client := "http", &http.Client{}
	if c.TLS.CertFile != "" {
		scheme, client = "https", localTLSClient()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s is not ready: status %d", address, res.StatusCode)
	}
	return nil
}

// localTLSClient is for the health check alone: it asks our own port whether we
// are ready, and the certificate is for our public name.
func localTLSClient() *http.Client {
	// #nosec G402 -- asks its own process, and says it nothing
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}
