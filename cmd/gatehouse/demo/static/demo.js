"use strict";

const keep = 8;

function log(list, text) {
  const item = document.createElement("li");
  item.textContent = text;
  list.prepend(item);
  while (list.children.length > keep) list.lastChild.remove();
}

function state(id, text) {
  document.getElementById(id).textContent = text;
}

// The gateway's script knows when the session ends, here or in another tab.
const over = document.getElementById("session-over");
window.gatehouse?.addEventListener("signedout", () => { over.hidden = false; });
window.gatehouse?.addEventListener("signedin", () => { over.hidden = true; });
document.getElementById("sign-in").addEventListener("click", () => {
  window.gatehouse?.signIn().catch(() => location.reload()); // somebody else: nothing here is theirs
});

const events = new EventSource("/app/events");
events.onopen = () => state("events-state", "Connected.");
events.onerror = () => state("events-state", "Disconnected; the browser tries again.");
events.addEventListener("tick", (event) => {
  const data = JSON.parse(event.data);
  log(document.getElementById("events"), `event ${data.n} at ${data.time}`);
});

const list = document.getElementById("socket");
const form = document.getElementById("socket-form");
const text = document.getElementById("socket-text");
const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");
socket.onopen = () => state("socket-state", "Connected.");
socket.onclose = () => state("socket-state", "Closed; reload to connect again.");
socket.onmessage = (event) => log(list, `received: ${event.data}`);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(text.value);
  log(list, `sent: ${text.value}`);
});
