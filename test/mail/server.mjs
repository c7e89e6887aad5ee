// A mail server for tests. It says what it got as lines of JSON, and misbehaves
// for recipients of certain names. Its one argument is a JSON object: tls
// (starttls, implicit or none), key, cert, user, pass.
import { SMTPServer } from 'smtp-server'

const options = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const tries = new Map()
const count = (to) => {
  tries.set(to, (tries.get(to) ?? 0) + 1)
  return tries.get(to)
}
const refusal = (code, text) => Object.assign(new Error(text), { responseCode: code })

// cut ends the connection of a session without a word.
function cut(session) {
  for (const c of server.connections) if (c.id === session.id) c._socket.destroy()
}

const server = new SMTPServer({
  secure: options.tls === 'implicit', key: options.key, cert: options.cert, authOptional: !options.user, disableReverseLookup: true, logger: false,
  disabledCommands: [...(options.tls === 'starttls' ? [] : ['STARTTLS']), ...(options.user ? [] : ['AUTH'])],
  onAuth(auth, session, done) {
    const ok = auth.username === options.user && auth.password === options.pass
    done(ok ? null : refusal(535, '5.7.8 wrong name or password'), ok ? { user: auth.username } : undefined)
  },
  onRcptTo(address, session, done) {
    const name = address.address.split('@')[0]
    if (name === 'refused') return done(refusal(550, '5.1.1 no such mailbox'))
    if (name === 'busy' && count('busy') === 1) return done(refusal(451, '4.3.0 come later'))
    done()
  },
  onData(stream, session, done) {
    const to = session.envelope.rcptTo.map((r) => r.address)
    const name = to[0].split('@')[0]
    if (name === 'dies' && count('dies') === 1) return stream.once('data', () => cut(session))
    const parts = []
    stream.on('data', (part) => parts.push(part))
    stream.on('end', () => {
      say({ from: session.envelope.mailFrom.address, to, raw: Buffer.concat(parts).toString('utf8'), secure: session.secure, user: session.user ?? '' })
      if (name === 'lost' && count('lost') === 1) return cut(session) // it has the mail, and its answer is lost
      done()
    })
  },
})
server.on('error', () => {})
server.listen(0, '127.0.0.1', () => say({ port: server.server.address().port }))
process.stdin.on('end', () => process.exit(0)).resume() // the tests are gone
