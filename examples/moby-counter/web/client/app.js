// The page: asks for the stored clicks once a second and draws them anew whenever they differ, so
// that a switch to another branch shows by itself.

const element = id => document.getElementById(id)
const user = { id: new URLSearchParams(location.search).get('user') }
let shown = null // the clicks on the screen, as the server sent them

// Draws the click number `index` at `place`, "x:y".
function draw(place, index) {
  const [x, y] = place.split(':').map(Number)
  const logo = document.createElement('div')
  // The bug bug: the fifth click is an insect if it is near the top of the screen.
  logo.className = y < 100 && index + 1 === 5 ? 'bug' : 'whale'
  logo.style.left = `${x}px`
  logo.style.top = `${y}px`
  if (user.id) logo.style.backgroundImage = `url(/users/${encodeURIComponent(user.id)}/image)`
  element('screen').append(logo)
}

function drawAll(clicks) {
  shown = clicks
  element('screen').replaceChildren()
  clicks.forEach(draw)
  element('start').hidden = clicks.length > 0
}

async function json(address, options) {
  const reply = await fetch(address, { cache: 'no-store', ...options })
  if (!reply.ok) throw new Error(await reply.text())
  return reply.json()
}

async function poll() {
  try {
    const { connected } = await json('/v1/ping')
    if (connected) {
      const clicks = await json('/v1/whales')
      if (JSON.stringify(clicks) !== JSON.stringify(shown)) drawAll(clicks)
    }
    element('away').hidden = connected
  } catch {
    element('away').hidden = false
  }
  setTimeout(poll, 1000)
}

function showLoggedIn() {
  element('login').hidden = true
  element('upload').action = `/users/${encodeURIComponent(user.id)}/image`
  element('upload').hidden = false
  drawAll(shown ?? [])
}

element('screen').addEventListener('click', async event => {
  // A logo is 110 by 86, and its middle is where the click was.
  const place = `${event.clientX - 55}:${event.clientY - 43}`
  drawAll([...(shown ?? []), place])
  await fetch('/v1/whales', { method: 'POST', body: place }).catch(() => {})
})

element('login').addEventListener('submit', async event => {
  event.preventDefault()
  const form = event.target
  try {
    const body = JSON.stringify({ Name: form.login_username.value })
    user.id = (await json('/login', { method: 'POST', body })).Id
    showLoggedIn()
  } catch (error) {
    form.querySelector('output').textContent = error.message
  }
})

if (user.id) showLoggedIn()
poll()
