"use strict";
// The work: numbers whose SHA-256 with the seed's begins with enough zero bits. It is done in small steps, so that the page stays
// usable; a message channel wakes it up, which browsers do not slow down as they do timers.
(() => {
  const main = document.querySelector("main");
  const say = document.getElementById("state");
  const bar = document.querySelector("progress");
  const again = document.querySelector("button");
  const seed = main.dataset.seed;
  const bits = Number(main.dataset.bits);
  const pieces = Number(main.dataset.pieces);
  let back = false;

  const K = new Int32Array(64);
  const H = new Int32Array(8);
  {
    // The first bits of the fractional parts of roots of primes (FIPS 180-4, sections 4.2.2 and 5.3.3).
    const part = (x) => ((x - Math.floor(x)) * 4294967296) | 0;
    for (let n = 2, i = 0; i < 64; n++) {
      let prime = true;
      for (let d = 2; d * d <= n; d++) {
        if (n % d === 0) {
          prime = false;
          break;
        }
      }
      if (prime) {
        if (i < 8) H[i] = part(Math.sqrt(n));
        K[i++] = part(Math.cbrt(n));
      }
    }
  }

  const W = new Int32Array(64);
  // compress is SHA-256's step for the block in W.
  function compress(state) {
    for (let i = 16; i < 64; i++) {
      const x = W[i - 15];
      const y = W[i - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      W[i] = (W[i - 16] + s0 + W[i - 7] + s1) | 0;
    }
    let a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    state[0] = (state[0] + a) | 0; state[1] = (state[1] + b) | 0; state[2] = (state[2] + c) | 0; state[3] = (state[3] + d) | 0;
    state[4] = (state[4] + e) | 0; state[5] = (state[5] + f) | 0; state[6] = (state[6] + g) | 0; state[7] = (state[7] + h) | 0;
  }

  // hash returns the SHA-256 of a text of ASCII characters, as eight words.
  function hash(text) {
    const state = Int32Array.from(H);
    const blocks = ((text.length + 8) >> 6) + 1;
    for (let block = 0; block < blocks; block++) {
      W.fill(0, 0, 16);
      for (let i = 0; i < 64; i++) {
        const at = block * 64 + i;
        const byte = at < text.length ? text.charCodeAt(at) : at === text.length ? 128 : 0;
        W[i >> 2] |= byte << (24 - 8 * (i & 3));
      }
      if (block === blocks - 1) W[15] = text.length * 8;
      compress(state);
    }
    return state;
  }

  const hex = (words, n) => Array.from(words.slice(0, n), (w) => (w >>> 0).toString(16).padStart(8, "0")).join("");

  async function finish(numbers) {
    say.textContent = main.dataset.last;
    const answer = await fetch(main.dataset.to, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ seed, numbers }),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    bar.hidden = true;
    if (main.dataset.form === "yes") {
      say.textContent = main.dataset.ready;
      again.hidden = false;
      again.focus();
      back = history.length > 1;
      return;
    }
    location.reload();
  }

  function failed() {
    bar.hidden = true;
    say.textContent = main.dataset.failed;
    again.textContent = main.dataset.retry;
    back = false;
    again.hidden = false;
  }

  // What a form sent cannot be sent from here without asking, and where it was typed it still stands.
  again.addEventListener("click", () => (back ? history.back() : location.reload()));
  const prefix = hex(hash(seed), 4);
  const numbers = [];
  let n = 0;
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    const until = performance.now() + 12;
    while (performance.now() < until) {
      for (let i = 0; i < 256; i++, n++) {
        const found = hash(prefix + "." + numbers.length + "." + n);
        if (found[0] >>> (32 - bits) === 0) {
          numbers.push(n);
          n = 0;
          bar.value = numbers.length;
          if (numbers.length === pieces) {
            finish(numbers).catch(failed);
            return;
          }
        }
      }
    }
    channel.port2.postMessage(0);
  };
  if (!navigator.cookieEnabled) {
    failed();
    return;
  }
  channel.port2.postMessage(0);
})();
