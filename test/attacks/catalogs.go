package main

// catalog is one list of rows and its document.
type catalog struct {
	file, document string
	least          int             // rows: fewer, and one was lost
	groups         map[byte]string // by the letter of the id
	columns        []string        // between the id and the tests
	cells          func(row) []string
	head           string
}

var catalogs = map[string]catalog{
	"attacks": {
		file: "rows.yaml", document: "docs/attacks.md", least: 97,
		groups: map[byte]string{
			'U': "Identity providers", 'N': "Redirects and native apps", 'O': "The OpenID provider", 'T': "Tokens", 'S': "Sessions and cookies",
			'P': "Passwords and accounts", 'K': "API keys", 'A': "Administration", 'W': "Pages", 'F': "Forward auth", 'Q': "The database", 'X': "Floods",
		},
		columns: []string{"attack"}, cells: func(r row) []string { return []string{r.Attack} },
		head: `# Attacks

What Latchkey is attacked with in its own tests, and by which of them. A test works over HTTP where not said otherwise by its folder, and looks
at the answer, at what must not have happened, and at the audit log where the attack is worth an event.

` + made("attacks", "rows"),
	},
	"reliability": {
		file: "reliability.yaml", document: "docs/reliability.md", least: 37,
		groups:  map[byte]string{'R': "Faults", 'G': "The refresh rule"},
		columns: []string{"what goes wrong", "what holds"}, cells: func(r row) []string { return []string{r.Fault, r.Must} },
		head: `# Reliability

What goes wrong in Latchkey's own tests, and what holds meanwhile. Those of ` + "`test/storm`" + ` run the real program as processes, with a real
PostgreSQL and with SQLite, and proxies that cut, delay and silence connections; the others put its parts together in one process.
An honest client is one that keeps what it has until it is refused, reads its store again before each attempt, and comes again after an error, a
503 or a 429. Nobody is logged out by a fault: no such client is ever refused for a session that nobody ended. And nothing that ended
comes back. [proof.md](proof.md) has the figures of the long storms.

` + made("reliability", "reliability"),
	},
}

// made says how a document is made anew.
func made(target, file string) string {
	return "This page is made: `make " + target + "` runs the tests and writes it, from the list in `test/attacks/" + file + ".yaml`. \"Holds\" means that every test of the\n" +
		"row passed then. `make test` fails when a test that is named here does not exist.\n"
}
