// The web service: serves the page, keeps the clicks in Redis, and passes everything about users
// on to the users service.

import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { redis } from './redis.mjs'

const CLIENT = new URL('client/', import.meta.url).pathname
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.png': 'image/png' }
const CLICK = /^-?\d+(\.\d+)?:-?\d+(\.\d+)?$/

const clicks = redis(process.env.USE_REDIS_HOST || 'redis', Number(process.env.USE_REDIS_PORT || 6379))

function answer(response, status, body, type = 'text/plain') {
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' })
  response.end(body)
}

// The page asks once a second. While Redis is away, it shows so.
async function ping(_request, response) {
  const connected = await clicks('PING').then(() => true, () => false)
  answer(response, 200, JSON.stringify({ connected }), 'application/json')
}

async function listClicks(_request, response) {
  answer(response, 200, JSON.stringify(await clicks('LRANGE', 'whales', '0', '-1')), 'application/json')
}

// SAVE writes the list to disk before the click is answered, so a commit made after it holds it.
async function addClick(request, response) {
  let body = ''
  for await (const bytes of request) {
    body += bytes
    if (body.length > 64) break
  }
  if (!CLICK.test(body)) return answer(response, 400, 'A click is sent as x:y\n')
  await clicks('RPUSH', 'whales', body)
  await clicks('SAVE')
  answer(response, 200, 'ok')
}

function passToUsers(request, response) {
  const upstream = http.request(
    { host: 'users', port: 8000, method: request.method, path: request.url, headers: request.headers, timeout: 10_000 },
    reply => {
      response.writeHead(reply.statusCode, reply.headers)
      reply.pipe(response)
      reply.on('error', () => response.destroy())
    })
  upstream.on('timeout', () => upstream.destroy(new Error('timeout')))
  upstream.on('error', error => {
    if (response.headersSent) return response.destroy()
    answer(response, 502, `The users service is away: ${error.code ?? error.message}\n`)
  })
  request.pipe(upstream)
}

function serveFile(pathname, response) {
  const file = path.join(CLIENT, path.normalize(pathname === '/' ? '/index.html' : pathname))
  fs.readFile(file, (error, body) => {
    if (error) return answer(response, 404, 'There is no such page\n')
    answer(response, 200, body, TYPES[path.extname(file)] ?? 'application/octet-stream')
  })
}

async function route(request, response) {
  const pathname = decodeURIComponent(request.url.split('?')[0])
  const call = `${request.method} ${pathname}`
  if (call === 'GET /v1/ping') return ping(request, response)
  if (call === 'GET /v1/whales') return listClicks(request, response)
  if (call === 'POST /v1/whales') return addClick(request, response)
  if (pathname === '/login' || /^\/users(\/|$)/.test(pathname)) return passToUsers(request, response)
  if (/^(GET|HEAD)$/.test(request.method) && pathname.startsWith('/') && !pathname.includes('\0')) return serveFile(pathname, response)
  answer(response, 404, 'There is no such page\n')
}

http.createServer((request, response) => {
  route(request, response).catch(error => {
    if (error instanceof URIError) return answer(response, 400, 'That address is malformed\n')
    answer(response, 503, `Redis is away: ${error.code ?? error.message}\n`)
  })
}).listen(80, () => console.log('web: listening on port 80'))

// As process 1 of its container it would otherwise not hear of being stopped.
process.on('SIGTERM', () => process.exit(0))
