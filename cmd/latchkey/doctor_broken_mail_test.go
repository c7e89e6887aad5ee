package main

var brokenMail = []setup{
	{id: "mail_server", make: func(w *world) {
		w.yaml = "smtp: {host: 127.0.0.1, port: 9, tls: none, from: login@example.org}\n" // nobody is there
	}},
}
