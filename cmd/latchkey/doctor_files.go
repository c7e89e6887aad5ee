package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/latchkey-id/latchkey/storage"
)

// diskState is what is known of a disk.
type diskState struct {
	id         uint64 // the same for what is on one disk; 0: unknown
	network    string // its kind, if it is one over a network
	free, size int64  // bytes; a size of 0: unknown
	readOnly   bool
}

const (
	leastRoom  = 32 << 20  // bytes: with less, SQLite soon fails in the middle of a write
	littleRoom = 512 << 20 // bytes that are worth a word
)

// secretInFile finds a secret that stands in the configuration itself.
var secretInFile = regexp.MustCompile(`(?m)^[^#\n]*(\b(client_secret|secret_key|previous_secret_keys|hs256_secret|registration_token|audiobookshelf_secret|password)\s*:\s*[^\s#]|postgres(ql)?://[^\s/@:]+:[^\s/@]+@)`)

// checkFiles looks at files that hold secrets, and at the folder of the data.
func checkFiles(_ context.Context, d *doctor) (out []finding, looked bool) {
	name, _ := d.program.configName()
	if raw, err := os.ReadFile(name); err == nil && secretInFile.Match(raw) && exposed(name) {
		out = append(out, found("config_file_exposed", name, values{"file": name}))
	}
	for _, file := range d.secretFiles() {
		if exposed(file) {
			out = append(out, found("secret_file_exposed", file, values{"file": file}))
		}
	}
	for variable, file := range d.fileVariables() {
		if raw, err := os.ReadFile(file); err == nil && strings.TrimRight(string(raw), "\r\n") == "" {
			out = append(out, found("secret_file_empty", file, values{"file": file, "variable": variable}))
		}
	}
	if file, ok := storage.IsSQLite(d.config.databaseURL()); ok && file != "" {
		if exposed(file) {
			out = append(out, found("database_file_exposed", file, values{"file": file}))
		}
		out = append(out, d.checkFolder(filepath.Dir(file))...)
	}
	return out, true
}

// secretFiles are the files that hold nothing but secrets.
func (d *doctor) secretFiles() (out []string) {
	out = []string{d.secretFile(), d.config.TLS.KeyFile}
	for _, file := range d.fileVariables() {
		out = append(out, file)
	}
	for _, x := range d.config.Providers {
		out = append(out, x.ClientSecretFile)
	}
	for _, x := range d.config.Clients {
		out = append(out, x.SecretFile)
	}
	return out
}

// fileVariables are the variables NAME_FILE that are set.
func (d *doctor) fileVariables() map[string]string {
	out := map[string]string{}
	names := []string{"OIDC_CLIENT_SECRET"}
	for _, s := range d.config.settings() {
		if s.secret {
			names = append(names, s.env)
		}
	}
	for _, name := range names {
		if file := d.program.getenv(name + "_FILE"); file != "" {
			out[name+"_FILE"] = file
		}
	}
	return out
}

// exposed reports whether everybody on this machine can read a file. What
// container engines mount as secrets is readable to all in the container, which
// has one user.
func exposed(name string) bool {
	full, err := filepath.Abs(name)
	if err != nil || name == "" || strings.HasPrefix(full, "/run/secrets/") || strings.HasPrefix(full, "/var/run/secrets/") {
		return false
	}
	info, err := os.Stat(full)
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		return false
	}
	for dir := filepath.Dir(full); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// checkFolder looks at the folder of the database, or at the one that it will be
// made in.
func (d *doctor) checkFolder(folder string) (out []finding) {
	there, info, err := nearestThere(folder)
	v := values{"folder": folder}
	disk, diskErr := d.disk(there)
	switch {
	case err != nil:
		v["reason"] = reasonOf(err)
		return []finding{found("data_dir_unusable", folder, v)}
	case !info.IsDir():
		v["reason"] = there + " is no folder"
		return []finding{found("data_dir_unusable", folder, v)}
	case diskErr == nil && disk.readOnly:
		v["reason"] = "the disk is read-only"
		return []finding{found("data_dir_unusable", folder, v)}
	case !isWritable(there):
		v["reason"] = "this user may not write there"
		return []finding{found("data_dir_unusable", folder, v)}
	case info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0:
		out = append(out, found("data_dir_open", there, values{"folder": there}))
	}
	v["free"] = strconv.FormatInt(disk.free>>20, 10)
	switch v["kind"] = disk.network; {
	case diskErr != nil:
	case disk.network != "":
		out = append(out, found("database_on_network_disk", folder, v))
	case disk.size > 0 && disk.free < leastRoom:
		out = append(out, found("disk_full", folder, v))
	case disk.size > 0 && disk.free < littleRoom && disk.free < disk.size/5:
		out = append(out, found("disk_nearly_full", folder, v))
	}
	return out
}

// nearestThere is a folder, or the nearest one above it that there is.
func nearestThere(folder string) (string, os.FileInfo, error) {
	full, err := filepath.Abs(folder)
	if err != nil {
		return folder, nil, err
	}
	for {
		info, err := os.Stat(full)
		if err == nil || !os.IsNotExist(err) || full == filepath.Dir(full) {
			return full, info, err
		}
		full = filepath.Dir(full)
	}
}

// checkTLS looks at the certificate of our own port.
func checkTLS(_ context.Context, d *doctor) (out []finding, looked bool) {
	cert, key := d.config.TLS.CertFile, d.config.TLS.KeyFile
	if cert == "" {
		return nil, false
	}
	v := values{"cert": cert, "key": key}
	for _, file := range []string{cert, key} {
		if _, err := os.ReadFile(file); err != nil {
			v["file"], v["reason"] = file, reasonOf(err)
			out = append(out, found("tls_file_unreadable", file, v))
		}
	}
	if len(out) > 0 {
		return out, true
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		v["reason"] = reasonOf(err)
		return []finding{found("tls_files_unusable", cert, v)}, true
	}
	return d.checkCertificate(cert, pair), true
}

func (d *doctor) checkCertificate(file string, pair tls.Certificate) []finding {
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return []finding{found("tls_files_unusable", file, values{"cert": file, "key": d.config.TLS.KeyFile, "reason": reasonOf(err)})}
	}
	v := values{"where": "in " + file, "until": when(leaf.NotAfter), "file": file}
	switch {
	case d.now().After(leaf.NotAfter):
		return []finding{found("certificate_expired", file, v)}
	case leaf.NotAfter.Sub(d.now()) < soon:
		return []finding{found("certificate_expiring", file, v)}
	}
	return nil
}
