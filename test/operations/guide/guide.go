// Package guide reads the commands of a guide in Markdown.
package guide

import (
	"errors"
	"fmt"
	"strings"
)

// Block is one fenced block of shell commands.
type Block struct {
	Section string // the last heading above it
	Line    int    // of its first command
	Text    string
}

// Blocks are the ```sh blocks of a guide, in order.
func Blocks(markdown string) ([]Block, error) {
	var blocks []Block
	var section string
	var open *Block
	other := false // within a block that is not of the shell
	for i, line := range strings.Split(markdown, "\n") {
		switch {
		case open != nil && line == "```":
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.Text += line + "\n"
		case other:
			other = line != "```"
		case line == "```sh":
			open = &Block{Section: section, Line: i + 2}
		case strings.HasPrefix(line, "```"):
			other = true
		case strings.HasPrefix(line, "#"):
			section = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	if open != nil || other {
		return nil, fmt.Errorf("a block of %q is not closed", section)
	}
	if len(blocks) == 0 {
		return nil, errors.New("no ```sh block")
	}
	return blocks, nil
}
