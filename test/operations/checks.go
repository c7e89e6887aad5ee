package main

// check is what must be so after a block of a section.
type check struct {
	after   string // the block has this in it
	promise string
	script  string
}

const curl = "curl -sS --cacert /etc/ssl/certs/id.example.org.pem"

var checks = map[string][]check{
	"4. Two replicas": {
		{"status", "they run as latchkey, and not as root", `test "$(ps -o user= -C latchkey | sort -u)" = latchkey`},
		{"security", "the unit is hardened", `systemd-analyze --no-pager security --threshold=20 latchkey@8081 >/dev/null`},
	},
	"5. nginx": {
		{"nginx -t", "http is sent to https, which answers", curl + ` -f -o /dev/null https://id.example.org/readyz
` + curl + ` -o /dev/null -w '%{http_code} %{redirect_url}\n' http://id.example.org/login | grep -x '301 https://id.example.org/login'`},
	},
	"6. The first administrator": {
		{"user create", "the administrator logs in, refreshes, and can end the session", logIn + `
` + curl + ` -f -X POST -H "x-refresh-token: $refresh" https://id.example.org/auth/refresh | jq -e .user.refreshToken >/dev/null`},
	},
	"7. Bans": {
		{"fail2ban-client", "ten guesses from one address ban it, and a refresh does not count", logIn + `
for i in $(seq 1 12); do
  ` + curl + ` -o /dev/null --interface 127.0.0.5 -H 'content-type: application/json' -d "{\"username\":\"root\",\"password\":\"guess $i\"}" https://id.example.org/login
done
for i in $(seq 1 60); do fail2ban-client get latchkey banip | grep -q 127.0.0.5 && break; sleep 1; done
fail2ban-client get latchkey banip | grep 127.0.0.5
fail2ban-client set latchkey unbanip 127.0.0.5`},
	},
	"8. Metrics and alerts": {
		{"promtool", "both replicas are watched", `for i in $(seq 1 60); do
  test "$(curl -fsS 'http://127.0.0.1:9090/api/v1/query?query=sum(latchkey_ready)' | jq -r '.data.result[0].value[1]')" = 2 && break; sleep 1; done
curl -fsS 'http://127.0.0.1:9090/api/v1/query?query=sum(latchkey_ready)' | jq -e '.data.result[0].value[1] == "2"'
curl -fsS http://127.0.0.1:9090/api/v1/rules | jq -e '[.data.groups[].rules[]] | length > 5'`},
	},
	"9. Backups": {
		{"latchkey-backup.service", "a phone is logged in", logIn + "\n" + `echo "$refresh" >/root/refresh`},
		{"latchkey restore", "nobody is logged out by the restore", refreshes},
	},
	"Day by day": {
		{"apt-get", "the phone goes on", refreshes},
		{"previous_secret_keys", "the phone goes on", refreshes},
	},
}

// logIn leaves $access and $refresh.
const logIn = `answer=$(` + curl + ` -f -H 'x-return-tokens: true' -H 'content-type: application/json' \
  -d "$(jq -n --rawfile p /root/first-password '{username: "root", password: ($p | rtrimstr("\n"))}')" https://id.example.org/login)
access=$(echo "$answer" | jq -er .user.accessToken)
refresh=$(echo "$answer" | jq -er .user.refreshToken)`

const refreshes = curl + ` -f --retry 20 --retry-delay 1 --retry-all-errors -X POST -H "x-refresh-token: $(cat /root/refresh)" https://id.example.org/auth/refresh | jq -er .user.refreshToken >/root/next
mv /root/next /root/refresh`
