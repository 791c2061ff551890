// A Redis connection that speaks just enough of RESP for this app: one command in, one reply out.

import net from 'node:net'

const TIMEOUT_MS = 2000

// Returns a function `call(...words)` that resolves to the reply. The connection is made at the
// first call, and made again at the first call after it was lost.
export function redis(host, port) {
  let socket = null
  let waiting = []

  function lose(error) {
    socket?.destroy()
    socket = null
    for (const { reject } of waiting.splice(0)) reject(error)
  }

  function connect() {
    const mine = net.connect({ host, port })
    let received = Buffer.alloc(0)
    const loseMine = error => { if (socket === mine) lose(error) }
    mine.setTimeout(TIMEOUT_MS, () => {
      if (waiting.length > 0) loseMine(new Error('Redis did not answer in time'))
    })
    mine.on('error', loseMine)
    mine.on('close', () => loseMine(new Error('Redis closed the connection')))
    mine.on('data', bytes => {
      received = Buffer.concat([received, bytes])
      for (let reply; socket === mine && (reply = parse(received, 0)); ) {
        received = received.subarray(reply.end)
        const { resolve, reject } = waiting.shift()
        reply.value instanceof Error ? reject(reply.value) : resolve(reply.value)
      }
    })
    return mine
  }

  return (...words) => new Promise((resolve, reject) => {
    socket ??= connect()
    waiting.push({ resolve, reject })
    const parts = words.map(word => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
    socket.write(`*${words.length}\r\n${parts.join('')}`)
  })
}

// Reads one reply that starts at `start`; null while it has not arrived completely.
function parse(bytes, start) {
  const line = bytes.indexOf('\r\n', start)
  if (line < 0) return null
  const text = bytes.toString('utf8', start + 1, line)
  let end = line + 2
  switch (String.fromCharCode(bytes[start])) {
    case '+': return { value: text, end }
    case '-': return { value: new Error(text), end }
    case ':': return { value: Number(text), end }
    case '$': {
      const length = Number(text)
      if (length < 0) return { value: null, end }
      if (bytes.length < end + length + 2) return null
      return { value: bytes.toString('utf8', end, end + length), end: end + length + 2 }
    }
    case '*': {
      const value = []
      for (let left = Number(text); left > 0; left--) {
        const item = parse(bytes, end)
        if (!item) return null
        value.push(item.value)
        end = item.end
      }
      return { value, end }
    }
    default: return { value: new Error('Redis sent something that is no reply'), end: bytes.length }
  }
}
