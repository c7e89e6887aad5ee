package main

import (
	"os/exec"
	"runtime"
)

// openBrowser opens a URL in the system browser, which is where people are
// logged in and passkeys work; never in a window of our own.
func openBrowser(target string) error {
	name, args := "xdg-open", []string{target}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", target}
	}
	// #nosec G204 -- the browser of the user who runs this; no shell
	c := exec.Command(name, args...)
	if err := c.Start(); err != nil {
		return err
	}
	go func() { _ = c.Wait() }() // some stay as long as the browser does
	return nil
}
