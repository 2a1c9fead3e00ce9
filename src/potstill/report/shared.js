// Functions that several pages call: packed data, and shaded balls for atoms.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(raw.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + length)));
  const kinds = { u1: Uint8Array, u2: Uint16Array, i2: Int16Array, f4: Float32Array };
  let at = 4 + length;
  for (const [name, dtype, size] of header.arrays) {
    const Kind = kinds[dtype], width = Kind.BYTES_PER_ELEMENT, sorted = new Uint8Array(size * width);
    for (let b = 0; b < width; b++) for (let k = 0; k < size; k++) sorted[k * width + b] = raw[at + b * size + k];
    header[name] = new Kind(sorted.buffer);
    at += size * width;
  }
  return header;
}

function shadedBall(colour) {
  const ball = document.createElement("canvas"), size = 96;
  ball.width = ball.height = size;
  const g = ball.getContext("2d"), rgb = [1, 3, 5].map((c) => parseInt(colour.slice(c, c + 2), 16));
  const tone = (f) => `rgb(${rgb.map((x) => Math.round(f(x))).join(",")})`;
  const shade = g.createRadialGradient(size * 0.36, size * 0.32, 0, size * 0.36, size * 0.32, size * 0.72);
  shade.addColorStop(0, tone((x) => 255 - 0.35 * (255 - x)));
  shade.addColorStop(0.45, tone((x) => x));
  shade.addColorStop(1, tone((x) => 0.5 * x));
  g.fillStyle = shade;
  g.beginPath(); g.arc(size / 2, size / 2, size / 2 - 1, 0, 7); g.fill();
  g.strokeStyle = "rgba(90,90,90,.5)"; g.lineWidth = 1.5; g.stroke();
  return ball;
}

