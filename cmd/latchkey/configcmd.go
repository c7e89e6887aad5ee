package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func (p *program) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check or print the configuration"}
	check := &cobra.Command{
		Use: "check", Short: "Say what is wrong with the configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.loadConfig()
			if err != nil {
				return err
			}
			for _, w := range cfg.warnings() {
				fmt.Fprintln(p.stdout, "warning:", w)
			}
			fmt.Fprintln(p.stdout, "ok")
			return nil
		},
	}
	show := &cobra.Command{
		Use: "print", Short: "Print the configuration in effect, secrets redacted", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.loadConfig()
			if err != nil {
				return err
			}
			return p.printConfig(cfg)
		},
	}
	p.jsonFlag(show)
	c.AddCommand(check, show)
	return c
}

// printConfig prints what is in effect, as the file would say it.
func (p *program) printConfig(c *config) error {
	for _, s := range c.settings() {
		if text, ok := s.value.(*string); ok && s.secret && *text != "" {
			*text = redacted
		}
		if list, ok := s.value.(*[]string); ok && s.secret {
			for i := range *list {
				(*list)[i] = redacted
			}
		}
	}
	if c.DatabaseURL == "" {
		c.DatabaseURL = c.databaseURL()
	}
	for i := range c.Providers {
		if c.Providers[i].ClientSecret != "" {
			c.Providers[i].ClientSecret = redacted
		}
	}
	for i := range c.Clients {
		if c.Clients[i].Secret != "" {
			c.Clients[i].Secret = redacted
		}
	}
	var all yaml.Node
	if err := all.Encode(c); err != nil {
		return err
	}
	withoutPasswords(&all)
	out, err := yaml.Marshal(&all)
	if err != nil {
		return err
	}
	if p.json {
		var tree map[string]any
		if err := yaml.Unmarshal(out, &tree); err != nil {
			return err
		}
		return p.printJSON(tree)
	}
	_, err = p.stdout.Write(out)
	return err
}

// withoutPasswords hides the passwords of all URLs.
func withoutPasswords(n *yaml.Node) {
	for _, child := range n.Content {
		withoutPasswords(child)
	}
	if n.Kind != yaml.ScalarNode || !strings.Contains(n.Value, "@") {
		return
	}
	if u, err := url.Parse(n.Value); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			n.Value = u.Redacted()
		}
	}
}

const redacted = "[redacted]"
