package main

// check is what must be so around a block of a section.
type check struct {
	at      string // the block has this in it
	promise string
	before  string // typed before it
	after   string
}

// helpers are functions of the checks.
const helpers = `
site=https://id.example.org
never() { if eval "$1"; then return 1; fi; } # a failure behind ! would end nothing
until_so() { for i in $(seq 1 "$1"); do if eval "$2"; then return; fi; sleep 1; done; eval "$2"; }
tokens() {
  curl -sSf -H 'x-return-tokens: true' -H 'content-type: application/json' \
    -d "$(jq -n --rawfile p /root/first-password '{username: "root", password: ($p | rtrimstr("\n"))}')" $site/login
}
phone() { tokens | jq -er .user.refreshToken >"/root/$1"; }
refreshes() {
  curl -sSf -X POST -H "x-refresh-token: $(cat "/root/$1")" $site/auth/refresh | jq -er .user.refreshToken >/root/next
  mv /root/next "/root/$1"
}
is_out() {
  curl -sS -o /dev/null -D /root/headers -X POST -H "x-refresh-token: $(cat "/root/$1")" $site/auth/refresh
  grep -i '^latchkey-code:' /root/headers | grep -w "$2"
}
guess() {
  for i in $(seq 1 12); do
    curl -sS --max-time 20 -o /dev/null --interface "$1" --connect-to ::127.0.0.1: -H 'content-type: application/json' -d "{\"username\":\"root\",\"password\":\"guess $i\"}" $site/login || true
  done
}
shut_out() { ! curl -sS --max-time 3 -o /dev/null --interface "$1" --connect-to ::127.0.0.1: $site/readyz; }
asks() {
  cat >/root/asks.sh <<'ASKS'
while [ -e /root/asking ]; do
  curl -sS -o /root/answer -w '%{http_code}\n' -X POST -H "x-refresh-token: $(cat /root/asker)" https://id.example.org/auth/refresh 2>&1
  jq -er .user.refreshToken /root/answer >/root/asker.next && mv /root/asker.next /root/asker
  curl -sS -o /dev/null -w '%{http_code}\n' https://id.example.org/login 2>&1
done >/root/answers
ASKS
  phone asker
  touch /root/asking
  systemd-run --quiet --unit asker bash /root/asks.sh
}
was_answered() {
  rm /root/asking
  until_so 20 '! systemctl --quiet is-active asker'
  sort /root/answers | uniq -c
  test "$(grep -c '^200$' /root/answers)" -gt 20
  never "grep -v '^200\$' /root/answers"
}
content() {
  for port in 8081 8082; do
    LATCHKEY_LISTEN=127.0.0.1:$port latchkey doctor --json | jq -e '.result == "ok" and .user == "latchkey" and all(.areas[]; .area != "public_url" or .result == "ok")'
  done
}
watched() { curl -fsS --get http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | jq -r '.data.result[0].value[1] // "none"'; }
`

var checks = map[string][]check{
	"1. Programs": {
		{at: "latchkey_", promise: "nothing runs yet, and the user is there",
			after: `never 'systemctl is-active latchkey'; id latchkey; never 'systemctl is-enabled latchkey'`},
	},
	"4. Two replicas": {
		{at: "status", promise: "they run as latchkey, and not as root", after: `test "$(ps -o user= -C latchkey | sort -u)" = latchkey`},
		{at: "status", promise: "they keep one journal of ends", after: `test "$(stat -c '%U %a' /var/lib/latchkey/ends.journal)" = 'latchkey 600'
never "journalctl --no-pager -u 'latchkey@*' --grep journal.missing"`},
		{at: "security", promise: "the unit is hardened", after: `systemd-analyze --no-pager security --threshold=20 latchkey@8081 >/dev/null`},
	},
	"5. nginx": {
		{at: "nginx -t", promise: "http is sent to https, which answers", after: `curl -sSf -o /dev/null $site/readyz
curl -sS -o /dev/null -w '%{http_code} %{redirect_url}\n' http://id.example.org/login | grep -x '301 https://id.example.org/login'`},
	},
	"6. The first administrator": {
		{at: "setup link", promise: "the link leads in", after: `link=$(journalctl --no-pager -o cat -u 'latchkey@*' | grep -o 'https://id.example.org/[^" ]*setup[^" ]*' | tail -n 1)
curl -sSf -L -c /root/jar -b /root/jar "$link" | grep -i '<form'`},
		{at: "user create", promise: "the administrator logs in and refreshes", after: `phone first; refreshes first`},
	},
	"7. Bans": {
		{at: "fail2ban-client", promise: "guesses from one address shut it out, and nobody else", after: `phone first
guess 127.0.0.5
until_so 60 'fail2ban-client get latchkey banip | grep 127.0.0.5'
until_so 20 'shut_out 127.0.0.5'
refreshes first
fail2ban-client set latchkey unbanip 127.0.0.5
until_so 20 '! shut_out 127.0.0.5'`},
		{at: "crowdsec", promise: "CrowdSec reads the same in the journal", before: `ip address add 203.0.113.9/32 dev lo`, after: `phone first
until_so 60 'cscli machines list >/dev/null && ps -C journalctl >/dev/null'
for try in 1 2 3; do # what is logged before its journalctl has got to the end is not read
  guess 203.0.113.9
  until_so 60 'fail2ban-client get latchkey banip | grep 203.0.113.9' # which sees it too
  fail2ban-client set latchkey unbanip 203.0.113.9
  if until_so 20 'cscli decisions list -o json | grep 203.0.113.9'; then break; fi
done
cscli decisions list -o json | grep 203.0.113.9
until_so 60 'shut_out 203.0.113.9'
refreshes first
cscli decisions delete --ip 203.0.113.9
until_so 60 '! shut_out 203.0.113.9'
ip address del 203.0.113.9/32 dev lo`},
	},
	"8. Metrics and alerts": {
		{at: "promtool", promise: "both replicas are watched", after: `until_so 60 'test "$(watched "sum(latchkey_ready)")" = 2'
test "$(watched 'count(up{job="latchkey"} == 1)')" = 2
curl -fsS http://127.0.0.1:9090/api/v1/rules | jq -e '[.data.groups[].rules[]] | length > 5'`},
		{at: "promtool", promise: "an alert fires when a replica is away, and people go on", before: ``, after: `phone first
systemctl stop latchkey@8082
refreshes first
until_so 240 'test "$(watched "ALERTS{alertname=\"LatchkeyDown\",alertstate=\"firing\",instance=\"127.0.0.1:18082\"}")" = 1'
test "$(watched 'count(ALERTS{alertstate="firing"})')" = 1
systemctl start latchkey@8082
until_so 90 'test "$(watched "count(ALERTS{alertstate=\"firing\"})")" = none'`},
	},
	"9. Backups": {
		{at: "latchkey-backup.service", promise: "a backup was made, for its owner alone, and the timer makes one by itself", before: `phone kept; phone left`, after: `
test "$(stat -c '%U %a' /var/lib/latchkey/backups/*.backup)" = 'latchkey 600'
systemctl is-enabled latchkey-backup.timer
mkdir -p /run/systemd/system/latchkey-backup.timer.d
printf '[Timer]\nOnCalendar=\nOnActiveSec=2\nRandomizedDelaySec=0\nAccuracySec=1\n' >/run/systemd/system/latchkey-backup.timer.d/soon.conf
systemctl daemon-reload
systemctl restart latchkey-backup.timer
until_so 60 'test $(ls /var/lib/latchkey/backups/*.backup | wc -l) = 2 && ! systemctl --quiet is-active latchkey-backup.service'
rm -r /run/systemd/system/latchkey-backup.timer.d
systemctl daemon-reload
systemctl restart latchkey-backup.timer
refreshes kept`},
		{at: "latchkey restore", promise: "the restored database knows nobody who came later, nobody is logged out, and what ended has ended", before: `
curl -sSf -o /dev/null -X POST -H "x-refresh-token: $(cat /root/left)" $site/logout
refreshes kept
echo 'a password of later' | runuser -u latchkey -- latchkey user create later --password-stdin`, after: `refreshes kept
is_out left logged_out
never 'runuser -u latchkey -- latchkey user list | grep -w later'
never "journalctl --no-pager -u 'latchkey@*' --grep journal.missing"`},
		{at: "DROP SCHEMA", promise: "the old tables are gone, and the new ones stay", after: `
test "$(runuser -u latchkey -- psql -At latchkey -c "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'latchkey_before%'")" = 0
refreshes kept`},
	},
	"10. Is it right?": {
		{at: "doctor", promise: "the doctor is content, as latchkey", after: `content`},
		{at: "ss -ltnH", promise: "only nginx can be reached from outside", after: `ss -ltnH | awk '{print $4}' | grep -v -e '^127\.' -e '^\[::1\]' | sort -u | tee /root/open
never "grep -v -e ':80\$' -e ':443\$' /root/open"`},
	},
	"Day by day": {
		{at: "apt-get", promise: "no answer is lost while both are replaced, and the newer version runs", before: `
dpkg-deb -R latchkey_*.deb newer
sed -i 's/^Version: .*/Version: 9.0.0/' newer/DEBIAN/control
dpkg-deb -Znone --root-owner-group -b newer latchkey_9.0.0_$(dpkg --print-architecture).deb
systemctl show -p MainPID --value latchkey@8081 latchkey@8082 | grep . >/root/pids
asks`, after: `was_answered
test "$(dpkg-query -W -f '${Version}' latchkey)" = 9.0.0
never 'systemctl show -p MainPID --value latchkey@8081 latchkey@8082 | grep . | grep -w -f /root/pids'
refreshes kept`},
		{at: "systemctl reload", promise: "both have the changed setting, and run on", before: `
systemctl show -p MainPID --value latchkey@8081 latchkey@8082 >/root/pids
sed -i 's/^log:/log:\n  level: debug/' /etc/latchkey/latchkey.yaml`, after: `
until_so 20 'test $(journalctl --no-pager -u "latchkey@*" --since=-1min --grep config.reloaded -o cat | grep -c log.level) = 2'
systemctl show -p MainPID --value latchkey@8081 latchkey@8082 | diff - /root/pids
refreshes kept`},
		{at: "session revoke", promise: "the stranger is out, and told so", before: `phone strange; refreshes strange`, after: `is_out strange revoked_by_admin; is_out kept revoked_by_admin`},
		{at: "key revoke", promise: "the key signs no more, and nobody is logged out", before: `phone kept
tokens | jq -er .user.accessToken >/root/access
curl -sSf -o /dev/null -H "authorization: Bearer $(cat /root/access)" $site/api/me`, after: `
until_so 20 'curl -sS -o /dev/null -w "%{http_code}" -H "authorization: Bearer $(cat /root/access)" $site/api/me | grep 401'
kid=$(cut -d . -f 1 /root/access | tr _- /+ | base64 -d 2>/dev/null | jq -r .kid || true)
test -n "$kid"
never 'curl -sSf $site/.well-known/jwks.json | grep -F -- "$kid"'
refreshes kept`},
		{at: "previous_secret_keys", promise: "no answer is lost meanwhile, and nobody is logged out", before: `grep ^secret_key: /etc/latchkey/latchkey.yaml >/root/before; asks`, after: `was_answered
never 'grep -F -f /root/before /etc/latchkey/latchkey.yaml'
runuser -u latchkey -- latchkey config check
refreshes kept`},
	},
	"Trouble": {
		{at: "journalctl --no-pager -o cat", promise: "at the end of all that the doctor is content", after: `content
systemctl --no-pager --failed --plain --no-legend | tee /root/failed
never "grep -E 'latchkey|postgres|nginx|fail2ban|crowdsec|prometheus' /root/failed"
refreshes kept`},
	},
}
