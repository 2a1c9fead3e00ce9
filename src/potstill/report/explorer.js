// The map of structures on audit.html: points, filters, and the chosen structure in 3D. No library, no request.
(async () => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const data = await unpack(byId("explorer-data").textContent);
  const n = data.ids.length;
  const rowOf = new Map(data.ids.map((id, k) => [id, k]));
  const starts = [0];
  for (const size of data.sizes) starts.push(starts[starts.length - 1] + size);
  const cellRow = [];
  let cells = 0;
  for (const periodic of data.periodic) cellRow.push(periodic ? cells++ : -1);
  const namedBy = Array.from({ length: n }, () => []);
  for (const [check, rows] of Object.entries(data.checks)) for (const k of rows) namedBy[k].push(check.replaceAll("_", " "));

  let chosen = -1, hovered = -1, printing = false;
  const shown = data.sources.map(() => true);
  const style = (name) => printing
    ? { "--ink": "#1b2228", "--muted": "#57626d", "--line": "#d5dce3", "--paper": "#ffffff" }[name]
    : getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- data -------------------------------------------------------------------------------------------------------
  function figure(x) {
    if (!Number.isFinite(x)) return "–";
    const text = Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en") : String(Number(x.toPrecision(3)));
    return text.replace("-", "−");
  }

  const low = (text) => text.replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]);

  // A canvas as sharp as the screen; drawing happens in CSS pixels.
  function sharp(canvas) {
    const ratio = Math.max(2, window.devicePixelRatio || 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    return [g, width, height];
  }

  // ---- the map ----------------------------------------------------------------------------------------------------
  const plane = byId("plane"), edge = 14;
  const eye = { zoom: 1, x: 0, y: 0 };
  const ramp = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
  let colouring = "";

  const spot = (k, width, height) => [
    width / 2 + (data.place[2 * k] / 32767 - eye.x) * eye.zoom * (width / 2 - edge),
    height / 2 - (data.place[2 * k + 1] / 32767 - eye.y) * eye.zoom * (height / 2 - edge),
  ];
  const visible = (k) => shown[data.source[k]];

  function scale(key) {
    const column = data.columns.find((c) => c.key === key), values = data[key];
    const known = [...values].filter((x) => Number.isFinite(x) && (!column.log || x > 0)).sort((a, b) => a - b);
    if (!known.length) return null;
    const pick = (q) => known[Math.round(q * (known.length - 1))];
    const f = column.log ? Math.log : (x) => x;
    const bottom = f(pick(0.005)), top = f(pick(0.995));
    const share = (x) => (top > bottom ? Math.min(1, Math.max(0, (f(x) - bottom) / (top - bottom))) : 0.5);
    return { column, share, from: pick(0.005), to: pick(0.995) };
  }

  function dot(g, shape, x, y, r) {
    g.beginPath();
    if (shape === "square") g.rect(x - r * 0.88, y - r * 0.88, r * 1.76, r * 1.76);
    else if (shape === "triangle") { g.moveTo(x, y - 1.2 * r); g.lineTo(x + 1.1 * r, y + 0.8 * r); g.lineTo(x - 1.1 * r, y + 0.8 * r); }
    else if (shape === "diamond") { g.moveTo(x, y - 1.25 * r); g.lineTo(x + 1.25 * r, y); g.lineTo(x, y + 1.25 * r); g.lineTo(x - 1.25 * r, y); }
    else g.arc(x, y, r, 0, 7);
    g.closePath();
  }

  function drawPlane() {
    const [g, width, height] = sharp(plane);
    const by = colouring ? scale(colouring) : null;
    const r = Math.min(4, Math.max(1.9, 130 / Math.sqrt(n))) * Math.min(1.5, eye.zoom ** 0.25);
    g.globalAlpha = n > 1500 ? 0.75 : 0.9;
    const later = [];
    for (let k = 0; k < n; k++) {
      if (!visible(k)) continue;
      const [x, y] = spot(k, width, height);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      const mark = data.marks[data.source[k]];
      let colour = mark.colour;
      if (by) {
        const value = data[colouring][k];
        colour = Number.isFinite(value) ? ramp[Math.round(by.share(value) * (ramp.length - 1))] : style("--line");
      }
      g.fillStyle = colour;
      dot(g, mark.shape, x, y, r);
      g.fill();
      if (namedBy[k].length && byId("flagged").checked) later.push([x, y]);
    }
    g.globalAlpha = 1;
    g.strokeStyle = style("--ink");
    g.lineWidth = 1;
    for (const [x, y] of later) { g.beginPath(); g.arc(x, y, r + 2, 0, 7); g.stroke(); }
    for (const [k, thick] of [[hovered, 1.5], [chosen, 3]]) {
      if (k < 0 || !visible(k)) continue;
      const [x, y] = spot(k, width, height);
      g.lineWidth = thick;
      g.beginPath(); g.arc(x, y, r + 5, 0, 7); g.stroke();
      if (k !== hovered) continue;
      g.font = "13px system-ui, sans-serif";
      const text = `${low(data.formulas[k])} · ${data.ids[k]}`, wide = g.measureText(text).width + 12;
      const left = Math.min(Math.max(x + 10, 2), Math.max(2, width - wide - 2)), top = y > 34 ? y - 32 : y + 12;
      g.fillStyle = style("--paper"); g.globalAlpha = 0.92; g.fillRect(left, top, wide, 22); g.globalAlpha = 1;
      g.lineWidth = 1; g.strokeRect(left, top, wide, 22);
      g.fillStyle = style("--ink"); g.fillText(text, left + 6, top + 15.5);
    }
    const count = data.source.reduce((sum, s) => sum + shown[s], 0);
    plane.setAttribute("aria-label", `Map of ${count} structures. ${chosen < 0 ? "None is" : data.ids[chosen] + " is"} chosen. ` +
      "Arrow keys go to the next point in their direction, plus and minus zoom, 0 shows all.");
    byId("scale").hidden = !by;
    if (by) {
      byId("scale").children[1].style.background = `linear-gradient(90deg, ${ramp.join(",")})`;
      const [from, , to] = byId("scale").children;
      from.textContent = figure(by.from);
      to.textContent = `${figure(by.to)} ${by.column.unit}`;
    }
  }

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let k = 0; k < n; k++) {
      if (!visible(k)) continue;
      const [px, py] = spot(k, plane.clientWidth, plane.clientHeight);
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) { least = far; best = k; }
    }
    return best;
  }

  function step(dx, dy) {
    const width = plane.clientWidth, height = plane.clientHeight;
    const [x, y] = chosen < 0 || !visible(chosen) ? [width / 2, height / 2] : spot(chosen, width, height);
    let best = -1, least = Infinity;
    for (let k = 0; k < n; k++) {
      if (k === chosen || !visible(k)) continue;
      const [px, py] = spot(k, width, height), along = (px - x) * dx + (py - y) * dy, across = (px - x) * dy - (py - y) * dx;
      if (along < 0.5) continue;
      const cost = along + 3 * Math.abs(across);
      if (cost < least) { least = cost; best = k; }
    }
    if (best >= 0) choose(best);
  }

  function zoom(factor) {
    const before = eye.zoom;
    eye.zoom = factor ? Math.min(200, Math.max(1, before * factor)) : 1;
    if (factor > 1 && chosen >= 0 && visible(chosen)) {
      eye.x = data.place[2 * chosen] / 32767;
      eye.y = data.place[2 * chosen + 1] / 32767;
    }
    if (eye.zoom === 1) eye.x = eye.y = 0;
    drawPlane();
  }

  function keepInSight(k) {
    const [x, y] = spot(k, plane.clientWidth, plane.clientHeight);
    if (x < 0 || y < 0 || x > plane.clientWidth || y > plane.clientHeight) {
      eye.x = data.place[2 * k] / 32767;
      eye.y = data.place[2 * k + 1] / 32767;
    }
  }

  drag(plane, (dx, dy) => {
    if (eye.zoom === 1) return;
    eye.x -= dx / (eye.zoom * (plane.clientWidth / 2 - edge));
    eye.y += dy / (eye.zoom * (plane.clientHeight / 2 - edge));
    drawPlane();
  }, (x, y) => {
    const k = nearest(x, y, 24);
    if (k >= 0) choose(k);
  });
  plane.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || event.buttons) return;
    const k = nearest(event.offsetX, event.offsetY, 12);
    if (k !== hovered) { hovered = k; drawPlane(); }
  });
  plane.addEventListener("pointerleave", () => { if (hovered >= 0) { hovered = -1; drawPlane(); } });
  keys(plane, {
    ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
    "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => zoom(0),
  });

  // ---- the structure in 3D ----------------------------------------------------------------------------------------
  const view = byId("view"), sprites = new Map();
  let turn = identity(), near = 1, model = null;

  function identity() { return [1, 0, 0, 0, 1, 0, 0, 0, 1]; }
  function times(a, b) {
    const c = [];
    for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) c.push(a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j]);
    return c;
  }
  const turned = (p) => [0, 3, 6].map((i) => turn[i] * p[0] + turn[i + 1] * p[1] + turn[i + 2] * p[2]);
  function inverse(m) {
    const [a, b, c, d, e, f, g, h, i] = m, A = e * i - f * h, B = f * g - d * i, C = d * h - e * g, det = a * A + b * B + c * C;
    return [A, c * h - b * i, b * f - c * e, B, a * i - c * g, c * d - a * f, C, b * g - a * h, a * e - b * d].map((x) => x / det);
  }
  const rowTimes = (p, m) => [0, 1, 2].map((j) => p[0] * m[j] + p[1] * m[3 + j] + p[2] * m[6 + j]);

  // Atoms with those on opposite faces, pairs that are bonded in a molecule, and pieces of the edges of the cell.
  function build(k) {
    const pbc = [1, 2, 4].map((bit) => (data.periodic[k] & bit) > 0), periodic = data.periodic[k] > 0;
    const atoms = [], bonds = [], edges = [];
    const factor = data.radius[periodic ? 1 : 0];
    const add = (z, p) => atoms.push({ z, p, r: data.elements[z][2] * factor });
    const cell = periodic ? [...data.cells.subarray(9 * cellRow[k], 9 * cellRow[k] + 9)] : null;
    const back = periodic ? inverse(cell) : null;
    for (let a = starts[k]; a < starts[k + 1]; a++) {
      const p = [0, 1, 2].map((c) => data.xyz[3 * a + c] * data.quantum), z = data.numbers[a];
      if (!periodic) { add(z, p); continue; }
      const s = rowTimes(p, back).map((x, c) => (pbc[c] ? x - Math.floor(x + 0.03) : x));
      for (let image = 0; image < 8; image++) {
        const shift = [image & 1, (image >> 1) & 1, (image >> 2) & 1];
        if (shift.every((m, c) => !m || (pbc[c] && Math.abs(s[c]) <= 0.03 && data.sizes[k] <= 200)))
          add(z, rowTimes(s.map((x, c) => x + shift[c]), cell));
      }
    }
    if (periodic) {
      for (let axis = 0; axis < 3; axis++) {
        if (!pbc[axis]) continue;
        const others = [0, 1, 2].filter((c) => c !== axis);
        for (const i of pbc[others[0]] ? [0, 1] : [0]) for (const j of pbc[others[1]] ? [0, 1] : [0]) for (let piece = 0; piece < 8; piece++) {
          const ends = [piece / 8, (piece + 1) / 8].map((t) => {
            const s = [0, 0, 0];
            s[others[0]] = i; s[others[1]] = j; s[axis] = t;
            return rowTimes(s, cell);
          });
          edges.push(ends);
        }
      }
    } else {
      for (let a = 0; a < atoms.length; a++) for (let b = 0; b < a; b++) {
        const p = atoms[a], q = atoms[b], reach = data.bond * (p.r + q.r) / factor;
        if ((p.p[0] - q.p[0]) ** 2 + (p.p[1] - q.p[1]) ** 2 + (p.p[2] - q.p[2]) ** 2 < reach * reach) bonds.push([p, q], [q, p]);
      }
    }
    const points = [...atoms.map((a) => a.p), ...edges.flat()];
    const centre = [0, 1, 2].map((c) => (Math.min(...points.map((p) => p[c])) + Math.max(...points.map((p) => p[c]))) / 2);
    const radius = Math.max(1.5, ...points.map((p) => Math.hypot(...p.map((x, c) => x - centre[c]))) ) + 0.8;
    return { atoms, bonds, edges, centre, radius };
  }

  function sprite(z) {
    if (!sprites.has(z)) sprites.set(z, shadedBall(data.elements[z][1]));
    return sprites.get(z);
  }

  function drawView() {
    const [g, width, height] = sharp(view);
    if (!model) return;
    const size = near * Math.min(46, (Math.min(width, height) / 2 - 4) / model.radius);
    const put = (p) => {
      const [x, y, z] = turned(p.map((v, c) => v - model.centre[c]));
      return [width / 2 + size * x, height / 2 - size * y, z];
    };
    const items = [];
    for (const atom of model.atoms) {
      const [x, y, z] = put(atom.p), r = size * atom.r;
      items.push([z, () => g.drawImage(sprite(atom.z), x - r, y - r, 2 * r, 2 * r)]);
    }
    const line = (a, b, colour, thick, z) => items.push([z, () => {
      g.strokeStyle = colour; g.lineWidth = thick;
      g.beginPath(); g.moveTo(a[0], a[1]); g.lineTo(b[0], b[1]); g.stroke();
    }]);
    const ink = style("--muted");
    for (const [p, q] of model.edges) { const a = put(p), b = put(q); line(a, b, ink, 1, (a[2] + b[2]) / 2); }
    for (const [p, q] of model.bonds) {
      const a = put(p.p), b = put(q.p).map((v, c) => (v + a[c]) / 2);
      line(a, b, data.elements[p.z][1], Math.max(1.5, 0.2 * size), (a[2] + b[2]) / 2 - 0.05);
    }
    items.sort((a, b) => a[0] - b[0]);
    for (const [, draw] of items) draw();
  }

  function rotate(dx, dy) {
    const [a, b] = [dx / 120, dy / 120], c = Math.cos, s = Math.sin;
    turn = times(times([1, 0, 0, 0, c(b), -s(b), 0, s(b), c(b)], [c(a), 0, s(a), 0, 1, 0, -s(a), 0, c(a)]), turn);
    drawView();
  }
  function approach(factor) { near = factor ? Math.min(8, Math.max(0.4, near * factor)) : 1; if (!factor) turn = identity(); drawView(); }

  drag(view, rotate, () => {});
  keys(view, {
    ArrowLeft: () => rotate(-18, 0), ArrowRight: () => rotate(18, 0), ArrowUp: () => rotate(0, -18), ArrowDown: () => rotate(0, 18),
    "+": () => approach(1.25), "=": () => approach(1.25), "-": () => approach(0.8), 0: () => approach(0),
  });

  // ---- choosing ---------------------------------------------------------------------------------------------------
  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function choose(k, quietly) {
    chosen = k;
    model = build(k);
    near = 1;
    turn = identity();
    if (!visible(k)) { shown[data.source[k]] = true; filter(); }
    keepInSight(k);
    const amount = data.sizes[k], facts = byId("facts"), list = element("dl");
    const add = (name, value, kind) => { list.append(element("dt", name)); const dd = element("dd", value, kind); list.append(dd); return dd; };
    add("Structure", data.ids[k], "id");
    add("Source", `${data.sources[data.source[k]]}, ${data.periodic[k] ? "periodic" : "molecule"}, ${amount} atom${amount > 1 ? "s" : ""}`);
    for (const column of data.columns) {
      const value = data[column.key][k];
      if (column.key !== "atoms" && Number.isFinite(value)) add(column.name, `${figure(value)} ${column.unit}`);
    }
    if (namedBy[k].length) add("Named by", namedBy[k].join(", "));
    const chips = element("p", undefined, "chips");
    for (const z of [...new Set(data.numbers.subarray(starts[k], starts[k + 1]))].sort((a, b) => a - b)) {
      const chip = element("span", data.elements[z][0]), ball = element("span", undefined, "ball");
      ball.style.background = data.elements[z][1];
      chip.prepend(ball);
      chips.append(chip);
    }
    facts.replaceChildren(element("h3", low(data.formulas[k])), chips, list);
    view.setAttribute("aria-label", `${data.formulas[k]}, ${data.ids[k]}, in 3D. Arrow keys turn it, plus and minus zoom, 0 resets.`);
    view.dataset.id = data.ids[k];
    view.dataset.atoms = String(model.atoms.length);
    byId("find").value = data.ids[k];
    byId("said").textContent = quietly ? "" : `${data.formulas[k]}, ${data.ids[k]}, of ${data.sources[data.source[k]]}`;
    mark(k);
    drawPlane();
    drawView();
  }

  // Where the chosen structure stands in each distribution.
  function mark(k) {
    for (const here of all(".spread .here")) here.remove();
    for (const figure of all(".spread[data-column]")) {
      const values = data[figure.dataset.column], row = figure.querySelector(`[data-source="${data.source[k]}"] .bars`);
      if (!values || !row || !Number.isFinite(values[k])) continue;
      const f = figure.dataset.log === "1" ? Math.log : (x) => x;
      const share = (f(values[k]) - f(+figure.dataset.low)) / (f(+figure.dataset.high) - f(+figure.dataset.low));
      const here = element("span", undefined, "here");
      here.style.left = `${100 * Math.min(1, Math.max(0, share))}%`;
      row.append(here);
    }
  }

  function along(by) {
    for (let k = chosen + by, seen = 0; seen < n; k += by, seen++) {
      const at = ((k % n) + n) % n;
      if (visible(at)) { choose(at); return; }
    }
  }

  function filter() {
    for (const box of all(".sources input[data-source]")) box.checked = shown[+box.dataset.source];
    for (const row of all(".spread .row[data-source]")) row.hidden = !shown[+row.dataset.source];
    byId("filtered").hidden = shown.every(Boolean);
    drawPlane();
  }

  function drag(canvas, move, tap) {
    let last = null, far = 0;
    canvas.addEventListener("pointerdown", (event) => { last = [event.offsetX, event.offsetY]; far = 0; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const dx = event.offsetX - last[0], dy = event.offsetY - last[1];
      far += Math.hypot(dx, dy);
      last = [event.offsetX, event.offsetY];
      if (far > 4) move(dx, dy);
    });
    canvas.addEventListener("pointerup", (event) => { if (last && far <= 4) tap(event.offsetX, event.offsetY); last = null; });
    canvas.addEventListener("pointercancel", () => { last = null; });
  }

  function keys(canvas, actions) {
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
      event.preventDefault();
      actions[event.key]();
    });
  }

  // ---- controls ---------------------------------------------------------------------------------------------------
  for (const box of all(".sources input[data-source]")) box.addEventListener("change", () => { shown[+box.dataset.source] = box.checked; filter(); });
  for (const button of all("[data-all]")) button.addEventListener("click", () => { shown.fill(button.dataset.all === "1"); filter(); });
  for (const button of all("[data-zoom]")) button.addEventListener("click", () => zoom(+button.dataset.zoom));
  byId("previous").addEventListener("click", () => along(-1));
  byId("next").addEventListener("click", () => along(1));
  byId("colour").addEventListener("change", (event) => { colouring = event.target.value; drawPlane(); });
  byId("flagged").addEventListener("change", drawPlane);
  byId("find").addEventListener("change", (event) => {
    const k = rowOf.get(event.target.value.trim());
    if (k === undefined) byId("said").textContent = `${event.target.value} is not on the map`;
    else choose(k);
  });
  const worst = byId("worst");
  for (const [check, rows] of Object.entries(data.checks)) {
    if (!rows.length) continue;
    const group = element("optgroup");
    group.label = check.replaceAll("_", " ");
    for (const k of rows) {
      const option = element("option", `${low(data.formulas[k])}  ${data.ids[k]}`);
      option.value = String(k);
      group.append(option);
    }
    worst.append(group);
  }
  worst.addEventListener("change", () => { if (worst.value) choose(+worst.value); });
  for (const name of all("main .id")) {
    const k = rowOf.get(name.textContent);
    if (k === undefined || name.closest("#explorer")) continue;
    const button = element("button", name.textContent, "id");
    button.type = "button";
    button.title = "Show it in 3D";
    button.addEventListener("click", () => { choose(k); byId("explorer").scrollIntoView({ block: "start" }); view.focus({ preventScroll: true }); });
    name.replaceWith(button);
  }

  byId("explorer").hidden = false;
  for (const note of all(".needs-script")) note.remove();
  const redraw = () => { drawPlane(); drawView(); };
  new ResizeObserver(redraw).observe(byId("explorer"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; redraw(); });
  addEventListener("afterprint", () => { printing = false; redraw(); });
  const first = Object.values(data.checks).find((rows) => rows.length);
  choose(first ? first[0] : 0, true);
})().catch((error) => {
  for (const note of document.querySelectorAll(".needs-script")) note.textContent = `The map could not be drawn: ${error.message}`;
});
