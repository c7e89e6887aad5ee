package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// offered is what the help of a command names: its subcommands and its flags.
type offered struct {
	path        []string
	subcommands []string
	flags       []string
}

var (
	helpCommand = regexp.MustCompile(`(?m)^  ([a-z0-9-]+) `)
	helpFlag    = regexp.MustCompile(`(?m)^ +(?:-[a-zA-Z], )?(--[a-z0-9-]+)`)
)

// commands are all commands of the program, by their help.
func commands(t *testing.T, path ...string) (out []offered) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(dist(t), "latchkey"), append(path, "--help")...)
	c.Dir = t.TempDir()
	text, err := c.Output()
	if err != nil {
		t.Fatalf("%v --help: %v", path, err)
	}
	o := offered{path: path}
	if _, rest, ok := strings.Cut(string(text), "Available Commands:\n"); ok {
		list, _, _ := strings.Cut(rest, "\n\n")
		for _, m := range helpCommand.FindAllStringSubmatch(list, -1) {
			o.subcommands = append(o.subcommands, m[1])
		}
	}
	if _, rest, ok := strings.Cut(string(text), "Flags:\n"); ok {
		for _, m := range helpFlag.FindAllStringSubmatch(rest, -1) {
			o.flags = append(o.flags, m[1])
		}
	}
	out = append(out, o)
	for _, sub := range o.subcommands {
		out = append(out, commands(t, append(slices.Clone(path), sub)...)...)
	}
	return out
}

// bashScript completes each line of its input as bash does after a tab, and
// prints the answers, one line for each.
const bashScript = `. /usr/share/bash-completion/bash_completion
. "$1"
compopt() { :; } # which bash has only while it completes
while IFS= read -r line; do
	COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_KEY=9
	read -ra COMP_WORDS <<<"$line"
	[[ $line != *' ' ]] || COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
	__start_latchkey
	for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]%% *}; done
	echo "${COMPREPLY[*]}"
done
`

// fishScript does the same for fish.
const fishScript = `source $argv[1]
while read -l line
	echo (complete -C $line | string replace -r '\t.*' '')
end
`

const secret = "a-secret-that-nobody-may-see-completed"

// complete has a shell answer what is typed so far; beside it are an environment
// and a configuration with secrets.
func complete(t *testing.T, shell []string, typed []string) [][]string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "latchkey.yaml"), "secret_key: "+secret+"\n")
	c := exec.CommandContext(t.Context(), shell[0], shell[1:]...)
	c.Dir = dir
	c.Env = []string{"PATH=" + dist(t) + ":/usr/bin:/bin", "HOME=" + dir, "TERM=dumb", "JWT_SECRET_KEY=" + secret, "OIDC_CLIENT_SECRET=" + secret, "LATCHKEY_ADMIN_PASSWORD=" + secret}
	c.Stdin = strings.NewReader(strings.Join(typed, "\n") + "\n")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell[0], err, out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(typed) {
		t.Fatalf("%s: %d answers to %d questions", shell[0], len(lines), len(typed))
	}
	answers := [][]string{}
	for _, line := range lines {
		if strings.Contains(line, secret) {
			t.Errorf("%s offers a secret: %s", shell[0], line)
		}
		answers = append(answers, strings.Fields(line))
	}
	return answers
}

// The real shells offer every subcommand and every flag that the help names, and
// no value that is secret.
func TestShellsCompleteEverything(t *testing.T) {
	all := commands(t)
	if len(all) < 40 {
		t.Fatalf("the help names %d commands", len(all))
	}
	completion := filepath.Join(dist(t), "completion", "latchkey.")
	for name, shell := range map[string][]string{
		"bash": {"bash", "--norc", "-c", bashScript, "bash", completion + "bash"},
		"fish": {"fish", "--no-config", "-c", fishScript, completion + "fish"},
	} {
		typed := []string{}
		for _, o := range all {
			line := strings.Join(append([]string{"latchkey"}, o.path...), " ")
			typed = append(typed, line+" ", line+" --")
		}
		answers := complete(t, shell, typed)
		more, rest := []string{}, []offered{}
		for i, o := range all {
			missing(t, name, typed[2*i], o.subcommands, answers[2*i])
			required := answers[2*i+1]
			if len(required) >= len(o.flags) {
				missing(t, name, typed[2*i+1], o.flags, required)
				continue
			}
			// Flags that a command needs come first, and then the others.
			line := strings.TrimSuffix(typed[2*i+1], "--")
			for _, flag := range required {
				line += flag + " x "
			}
			o.flags = slices.DeleteFunc(slices.Clone(o.flags), func(f string) bool { return slices.Contains(required, f) })
			more, rest = append(more, line+"--"), append(rest, o)
		}
		for i, answer := range complete(t, shell, more) {
			missing(t, name, more[i], rest[i].flags, answer)
		}
	}
}

func missing(t *testing.T, shell, typed string, want, got []string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s: %q is not completed to %s: %v", shell, typed, w, got)
		}
	}
}

// zsh's completion needs a terminal; its script is read by zsh without running it.
func TestCompletionScriptsAreWellFormed(t *testing.T) {
	for shell, script := range map[string]string{"bash": "bash", "zsh": "zsh", "fish": "fish"} {
		file := filepath.Join(dist(t), "completion", "latchkey."+script)
		command(t, shell, "-n", file)
	}
	if text := read(t, filepath.Join(dist(t), "completion", "latchkey.zsh")); !strings.HasPrefix(text, "#compdef latchkey\n") {
		t.Error("zsh would not take the script for a completion of latchkey")
	}
}
