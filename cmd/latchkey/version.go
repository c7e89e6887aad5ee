package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// version is set at release: -ldflags "-X main.version=1.2.3".
var version = "0.1.0"

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if p.json {
				return p.printJSON(map[string]string{"version": version})
			}
			fmt.Fprintln(p.stdout, version)
			return nil
		},
	}
	p.jsonFlag(c)
	return c
}
