// Buttons that copy code, and trajectories that one can play. No library, no request; without it the page has still pictures.
(async () => {
  "use strict";
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  for (const box of document.querySelectorAll(".player")) await player(box);

  async function player(box) {
    const data = await unpack(box.querySelector("script").textContent);
    const canvas = box.querySelector("canvas"), play = box.querySelector("button"), slider = box.querySelector("input");
    const told = box.querySelector("output"), still = box.querySelector("svg"), sprites = new Map();
    const n = data.numbers.length, frames = data.times.length;
    let turn = [1, 0, 0, 0, 1, 0, 0, 0, 1], playing = false, frame = 0, before = 0;
    const place = (f, a) => [0, 1, 2].map((c) => data.xyz[3 * (f * n + a) + c] * data.quantum);
    const ends = [];
    for (let k = 0; k < data.edges.length; k += 3) ends.push([0, 1, 2].map((c) => data.edges[k + c]));
    const first = Array.from({ length: n }, (_, a) => place(0, a)).concat(ends);
    const centre = [0, 1, 2].map((c) => (Math.min(...first.map((p) => p[c])) + Math.max(...first.map((p) => p[c]))) / 2);
    const radius = Math.max(2, ...first.map((p) => Math.hypot(...p.map((x, c) => x - centre[c])))) + 0.9;

    const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--muted").trim();
    function sprite(z) {
      if (!sprites.has(z)) sprites.set(z, shadedBall(data.elements[z][1]));
      return sprites.get(z);
    }

    function draw() {
      const ratio = Math.max(2, window.devicePixelRatio || 1), width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width) return;
      if (canvas.width !== Math.round(width * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      const g = canvas.getContext("2d");
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      g.clearRect(0, 0, width, height);
      const size = (Math.min(width, height) / 2 - 3) / radius;
      const put = (p) => {
        const q = p.map((x, c) => x - centre[c]);
        const [x, y, z] = [0, 3, 6].map((i) => turn[i] * q[0] + turn[i + 1] * q[1] + turn[i + 2] * q[2]);
        return [width / 2 + size * x, height / 2 - size * y, z];
      };
      const items = [], spots = Array.from({ length: n }, (_, a) => put(place(frame, a)));
      const line = (a, b, colour, thick) => items.push([(a[2] + b[2]) / 2 - 0.05, () => {
        g.strokeStyle = colour; g.lineWidth = thick;
        g.beginPath(); g.moveTo(a[0], a[1]); g.lineTo(b[0], b[1]); g.stroke();
      }]);
      spots.forEach(([x, y, z], a) => {
        const r = size * data.radius * data.elements[data.numbers[a]][2];
        items.push([z, () => g.drawImage(sprite(data.numbers[a]), x - r, y - r, 2 * r, 2 * r)]);
      });
      for (let k = 0; k < data.bonds.length; k += 2) {
        const [a, b] = [spots[data.bonds[k]], spots[data.bonds[k + 1]]], middle = a.map((x, c) => (x + b[c]) / 2);
        line(a, middle, data.elements[data.numbers[data.bonds[k]]][1], Math.max(1.5, 0.2 * size));
        line(middle, b, data.elements[data.numbers[data.bonds[k + 1]]][1], Math.max(1.5, 0.2 * size));
      }
      for (let k = 0; k < ends.length; k += 2) line(put(ends[k]), put(ends[k + 1]), ink(), 1);
      items.sort((a, b) => a[0] - b[0]);
      for (const [, paint] of items) paint();
      canvas.dataset.frame = String(frame);
    }

    function show(f) {
      frame = ((f % frames) + frames) % frames;
      slider.value = String(frame);
      told.textContent = `${data.times[frame].toFixed(3)} ps`;
      draw();
    }
    function tick(now) {
      if (!playing) return;
      if (now - before > 50) { before = now; show(frame + 1); }
      requestAnimationFrame(tick);
    }
    function start(on) {
      playing = on;
      play.textContent = on ? "Pause" : "Play";
      play.setAttribute("aria-pressed", String(on));
      if (on) requestAnimationFrame(tick);
    }
    function rotate(dx, dy) {
      const [a, b] = [dx / 120, dy / 120], c = Math.cos, s = Math.sin;
      const times = (p, q) => [0, 3, 6].flatMap((i) => [0, 1, 2].map((j) => p[i] * q[j] + p[i + 1] * q[3 + j] + p[i + 2] * q[6 + j]));
      turn = times(times([1, 0, 0, 0, c(b), -s(b), 0, s(b), c(b)], [c(a), 0, s(a), 0, 1, 0, -s(a), 0, c(a)]), turn);
      draw();
    }
    let last = null;
    canvas.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      rotate(event.clientX - last[0], event.clientY - last[1]);
      last = [event.clientX, event.clientY];
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { last = null; });
    const keys = { ArrowLeft: [-18, 0], ArrowRight: [18, 0], ArrowUp: [0, -18], ArrowDown: [0, 18] };
    canvas.addEventListener("keydown", (event) => {
      if (event.key === " ") { event.preventDefault(); start(!playing); }
      if (keys[event.key]) { event.preventDefault(); rotate(...keys[event.key]); }
    });
    play.addEventListener("click", () => start(!playing));
    slider.addEventListener("input", () => { start(false); show(+slider.value); });
    new ResizeObserver(draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    slider.max = String(frames - 1);
    still.remove();
    for (const part of box.querySelectorAll("[hidden]")) part.hidden = false;
    show(0);
  }
})();
