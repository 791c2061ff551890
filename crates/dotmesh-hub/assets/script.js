// Enhancements only: every page works without this file.
"use strict";

// A button to copy a block of commands.
for (const block of document.querySelectorAll("pre[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  if (navigator.clipboard) block.append(button);
}

// Buttons that copy a text.
for (const button of document.querySelectorAll("[data-copies]")) {
  if (!navigator.clipboard) break;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copies);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// `/` goes to the search.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector("[data-hotkey='/']");
  if (field) { event.preventDefault(); field.focus(); }
});

// Actions that cannot be undone ask once more.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// Names of users are completed while they are typed.
for (const field of document.querySelectorAll("input[data-complete]")) {
  field.addEventListener("input", async () => {
    const prefix = field.value.trim();
    if (prefix.length < 2) return;
    const answer = await fetch(`${field.dataset.complete}?prefix=${encodeURIComponent(prefix)}`);
    if (!answer.ok || field.value.trim() !== prefix) return;
    const names = await answer.json();
    field.list.replaceChildren(...names.map((name) => new Option(name, name)));
  });
}

// What happens to a dot shows without a reload: parts that can be replaced are, and otherwise a notice says so. Only
// while the page is seen, as a browser has few connections to a host.
const live = document.querySelector("[data-live]");
if (live) {
  let source;
  const replace = async () => {
    const parts = document.querySelectorAll("[data-live-part]");
    if (parts.length === 0) return false;
    const answer = await fetch(location.href);
    if (!answer.ok || answer.redirected) return false;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) {
      const other = page.getElementById(part.id);
      if (other) part.replaceWith(document.adoptNode(other));
    }
    live.dataset.since = page.querySelector("[data-live]")?.dataset.since ?? live.dataset.since;
    return true;
  };
  const follow = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(live.dataset.live);
    source.addEventListener("message", async (event) => {
      if (Number(event.data) <= Number(live.dataset.since)) return;
      live.dataset.since = event.data;
      if (!await replace()) live.hidden = false;
    });
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}
