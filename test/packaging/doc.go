// Package packaging builds what a release offers and tries it: the Debian package
// on a machine of its own with the real systemd, the completion in the real
// shells, the Dockerfile and the Compose file. Its tests print how far they could
// go on the machine that they run on.
package packaging
