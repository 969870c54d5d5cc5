"use strict";
// Draws one utterance over one time axis: spectrogram, CTC posteriors, alignment, attention of one head of any kind.

const GUTTER = 58, RIGHT = 10, TITLE = 20, SPECTROGRAM = 110, CTC = 84, ALIGNMENT = 40, AXIS = 34;
const SECOND = 56; // the least width of a second, in CSS pixels; a longer picture scrolls inside its box
const KINDS = {
  decoder: "decoder, labels × time",
  labels: "decoder, labels × labels before",
  encoder: "encoder, time × time",
  bands: "encoder, frequency × frequency",
};
const TIMED = new Set(["decoder", "encoder"]); // those whose columns are time
const MAPS = {
  light: [[255, 255, 255], [198, 219, 239], [66, 134, 198], [8, 48, 107]],
  dark: [[26, 30, 35], [24, 66, 110], [74, 155, 222], [240, 248, 255]],
};

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const byId = (id) => document.getElementById(id);
const stored = (id) => (byId(id) ? JSON.parse(byId(id).textContent) : null);
const display = (piece) => piece.replaceAll(" ", "␣") || "∅";

// A part of a text that may be wrong, with its CTC confidence; a screen reader says it, too.
function lowConfidence(text, mark) {
  const part = Object.assign(document.createElement("span"), { className: "low-confidence", textContent: text, title: `low CTC confidence: ${mark}` });
  const spoken = Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: ` (low CTC confidence: ${mark})` });
  const both = document.createElement("span");
  both.append(part, spoken);
  return both;
}

function loadClips() {
  const uris = stored("clips") || {};
  for (const audio of document.querySelectorAll("audio[data-clip]")) audio.src = uris[audio.dataset.clip];
  return uris;
}

// One byte image, `rows` lines of `columns`, stretched over a rectangle.
function raster(context, bytes, columns, rows, box, map, flip) {
  const image = new ImageData(columns, rows);
  for (let row = 0; row < rows; row++) {
    const from = (flip ? rows - 1 - row : row) * columns;
    for (let column = 0; column < columns; column++) {
      const position = (bytes[from + column] / 255) * (map.length - 1);
      const low = Math.min(Math.floor(position), map.length - 2), share = position - low;
      for (let k = 0; k < 3; k++) image.data[4 * (row * columns + column) + k] = map[low][k] + share * (map[low + 1][k] - map[low][k]);
      image.data[4 * (row * columns + column) + 3] = 255;
    }
  }
  const small = new OffscreenCanvas(columns, rows);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, box.x, box.y, box.width, box.height);
}

class AttentionViewer {
  constructor(utterances, uris) {
    this.utterances = utterances;
    this.uris = uris;
    this.canvas = byId("picture");
    this.player = byId("player");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    byId("utterance").addEventListener("change", () => this.load());
    byId("kind").addEventListener("change", () => this.offerHeads());
    byId("head").addEventListener("change", () => this.show());
    this.dark.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(document.querySelector(".picture"));
    this.canvas.addEventListener("pointermove", (event) => this.read(event));
    this.canvas.addEventListener("click", (event) => this.seek(event));
    for (const name of ["play", "timeupdate", "seeked"]) this.player.addEventListener(name, () => this.follow());
    this.load();
  }

  // Unpack the chosen utterance, keep the chosen head where it has utterance.
  async load() {
    const utterance = this.utterances[Number(byId("utterance").value)];
    utterance.bytes ??= {
      spectrogram: await inflate(utterance.spectrogram.values),
      ctc: utterance.ctc && await inflate(utterance.ctc.values),
    };
    this.utterance = utterance;
    byId("reference").textContent = utterance.reference;
    byId("recognized").replaceChildren(...utterance.segments.map(([text, mark]) => (mark ? lowConfidence(text, mark) : document.createTextNode(text))));
    byId("attention-notes").replaceChildren(...utterance.notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    byId("attention-notes").hidden = !utterance.notes.length;
    const uri = this.uris[utterance.id];
    this.player.hidden = !uri;
    if (uri) this.player.src = uri; else this.player.removeAttribute("src");
    byId("playhead").hidden = true;
    this.listTimes();
    this.offerKinds();
  }

  // Fill a list of choices, and keep the one that was chosen before where it is still there.
  offer(select, options, fallback) {
    const before = select.value;
    select.disabled = !options.length;
    select.replaceChildren(...(options.length ? options : [new Option("no attention here", "")]));
    if (options.length) select.value = options.some((option) => option.value === before) ? before : fallback;
  }

  offerKinds() {
    const kinds = this.utterance.attentions;
    this.offer(byId("kind"), kinds.map((kind) => new Option(KINDS[kind.of], kind.of)), kinds.length && kinds[0].of);
    this.offerHeads();
  }

  offerHeads() {
    const kind = this.utterance.attentions.find((kind) => kind.of === byId("kind").value), options = [];
    for (const { number } of kind ? kind.layers : []) {
      for (let head = 0; head < kind.heads; head++) options.push(new Option(`layer ${number + 1}, head ${head + 1}`, `${number}.${head}`));
    }
    this.offer(byId("head"), options, options.length && options[options.length - kind.heads].value);
    this.show();
  }

  // Unpack the chosen layer, then draw.
  async show() {
    const turn = (this.turn = (this.turn || 0) + 1), kind = this.utterance.attentions.find((each) => each.of === byId("kind").value);
    this.chosen = null;
    if (kind) {
      const [number, head] = byId("head").value.split(".").map(Number), layer = kind.layers.find((each) => each.number === number);
      layer.bytes ??= await inflate(layer.values);
      if (turn !== this.turn) return; // something else has been chosen meanwhile
      const size = kind.rows * kind.columns;
      this.chosen = { ...kind, bytes: layer.bytes.subarray(head * size, (head + 1) * size) };
    }
    this.draw();
  }

  listTimes() {
    const { utterance } = this, cell = (name, text) => Object.assign(document.createElement(name), { textContent: text });
    const rows = [["label", "from (s)", "to (s)", "posterior"]];
    (utterance.spans || []).forEach(([start, end, mean], index) => {
      rows.push([display(utterance.pieces[index]), (start * utterance.frame_s).toFixed(2), (end * utterance.frame_s).toFixed(2), mean.toFixed(3)]);
    });
    byId("times").replaceChildren(...rows.map((texts, index) => {
      const row = document.createElement("tr");
      row.append(...texts.map((text) => cell(index ? "td" : "th", text)));
      return row;
    }));
  }

  // Where everything lies, in CSS pixels.
  layout() {
    const { utterance } = this, available = document.querySelector(".picture").clientWidth;
    const width = Math.max(available, Math.ceil(GUTTER + RIGHT + utterance.seconds * SECOND));
    const shown = this.chosen, timed = shown && TIMED.has(shown.of), full = width - GUTTER - RIGHT, scale = full / utterance.seconds;
    let y = 0;
    const box = (height, wide = full) => { const placed = { x: GUTTER, y: y + TITLE, width: wide, height }; y += TITLE + height + 8; return placed; };
    const boxes = { spectrogram: box(SPECTROGRAM), ctc: utterance.ctc && box(CTC), alignment: utterance.spans && box(ALIGNMENT) };
    const row = shown && (shown.of === "encoder" ? Math.min(420, 0.7 * full) / shown.rows : Math.max(8, Math.min(17, 420 / shown.rows)));
    if (timed) boxes.attention = box(shown.rows * row);
    const axis = y;
    y += AXIS;
    if (shown && !timed) boxes.attention = box(shown.rows * row, Math.min(full, 1.4 * row * shown.columns)), y += 16;
    return { width, height: y, axis, row, scale, ...boxes };
  }

  draw() {
    if (!this.utterance || (this.utterance.attentions.length && !this.chosen)) return; // not unpacked yet
    const { utterance, canvas } = this, at = (this.at = this.layout()), ratio = devicePixelRatio || 1;
    canvas.width = Math.round(at.width * ratio);
    canvas.height = Math.round(at.height * ratio);
    canvas.style.width = `${at.width}px`;
    canvas.style.height = `${at.height}px`;
    const style = getComputedStyle(document.documentElement);
    this.color = (name) => style.getPropertyValue(`--${name}`).trim();
    this.map = MAPS[this.dark.matches ? "dark" : "light"];
    const context = (this.context = canvas.getContext("2d"));
    context.scale(ratio, ratio);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.drawSpectrogram();
    if (at.ctc) this.drawCtc();
    if (at.alignment) this.drawAlignment();
    if (at.attention) this.drawAttention();
    this.drawAxis();
    canvas.setAttribute("aria-label", `${utterance.id}, ${utterance.seconds.toFixed(2)} seconds: spectrogram, CTC posteriors with alignment, ${byId("kind").selectedOptions[0].text}, ${byId("head").selectedOptions[0].text}, for the text ${utterance.text}`);
  }

  x(seconds) { return GUTTER + seconds * this.at.scale; }

  text(words, x, y, color = "soft", align = "left") {
    Object.assign(this.context, { fillStyle: this.color(color), textAlign: align });
    this.context.fillText(words, x, y);
  }

  title(words, box) { this.text(words, GUTTER, box.y - TITLE / 2, "ink"); }

  frame(box) {
    this.context.strokeStyle = this.color("line");
    this.context.lineWidth = 1;
    this.context.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
  }

  drawSpectrogram() {
    const { utterance, at } = this, spectrogram = utterance.spectrogram, box = at.spectrogram;
    this.title("Log-mel spectrogram", box);
    raster(this.context, utterance.bytes.spectrogram, spectrogram.frames, spectrogram.bins, { ...box, width: spectrogram.frames * spectrogram.frame_s * at.scale }, this.map, true);
    this.frame(box);
    this.text(`bin ${spectrogram.bins}`, GUTTER - 6, box.y + 6, "soft", "right");
    this.text("1", GUTTER - 6, box.y + box.height - 6, "soft", "right");
  }

  drawCtc() {
    const { utterance, at, context } = this, box = at.ctc, { frames, names } = utterance.ctc, bytes = utterance.bytes.ctc;
    this.title(box.width < 560 ? "CTC posteriors" : "CTC posteriors: labels of the text (filled), blank (dotted), best other label (dashed)", box);
    this.frame(box);
    this.text("1", GUTTER - 6, box.y + 6, "soft", "right");
    this.text("0", GUTTER - 6, box.y + box.height - 4, "soft", "right");
    const trace = (row) => {
      context.beginPath();
      context.moveTo(GUTTER, box.y + box.height);
      for (let frame = 0; frame < frames; frame++) {
        const y = box.y + box.height * (1 - bytes[row * frames + frame] / 255);
        context.lineTo(this.x(frame * utterance.frame_s), y);
        context.lineTo(this.x((frame + 1) * utterance.frame_s), y);
      }
      context.lineTo(this.x(frames * utterance.frame_s), box.y + box.height);
    };
    for (let row = 0; row < names.length - 2; row++) {
      trace(row);
      const wordEnd = !names[row].trim(); // spaces are drawn fainter than letters
      context.fillStyle = this.color(wordEnd ? "soft" : `c${[0, 2, 3][row % 3]}`);
      context.globalAlpha = wordEnd ? 0.3 : 0.75;
      context.fill();
      context.globalAlpha = 1;
    }
    context.lineWidth = 1.25;
    [["soft", [1.5, 2.5]], ["bad", [5, 3]]].forEach(([color, dash], index) => {
      trace(names.length - 2 + index);
      context.strokeStyle = this.color(color);
      context.setLineDash(dash);
      context.stroke();
    });
    context.setLineDash([]);
  }

  drawAlignment() {
    const { utterance, at, context } = this, box = at.alignment;
    this.title("Forced alignment (CTC)", box);
    utterance.spans.forEach(([start, end], index) => {
      const left = this.x(start * utterance.frame_s), right = this.x(end * utterance.frame_s);
      context.fillStyle = this.color("c0");
      context.globalAlpha = utterance.pieces[index].trim() ? 0.9 : 0.3;
      context.fillRect(left, box.y + 1, Math.max(right - left - 1, 1), 8);
      context.globalAlpha = 1;
      this.text(display(utterance.pieces[index]), (left + right) / 2, box.y + 18 + 13 * (index % 2), "ink", "center");
    });
  }

  drawAttention() {
    const { utterance, at, context } = this, box = at.attention, { of, rows, columns, bytes } = this.chosen;
    const [kind, head] = ["kind", "head"].map((id) => byId(id).selectedOptions[0].text);
    this.title(at.width < 560 ? `Attention, ${head}` : `Attention: ${kind}, ${head}`, box);
    const width = TIMED.has(of) ? at.scale * utterance.frame_s * columns : box.width;
    raster(context, bytes, columns, rows, { ...box, width }, this.map, false);
    this.frame(box);
    let last = -Infinity;
    for (const [position, name] of this.rowNames()) {
      if (position - last < 12) continue;
      this.text(name, GUTTER - 6, box.y + position, "ink", "right");
      last = position;
    }
    if (!TIMED.has(of)) this.nameColumns(box);
    if (of !== "decoder") return;
    context.strokeStyle = this.color("c1");
    (utterance.spans || []).forEach(([start, end], row) => {
      context.strokeRect(this.x(start * utterance.frame_s) + 0.5, box.y + row * at.row + 0.5, Math.max((end - start) * utterance.frame_s * at.scale - 1, 2), at.row - 1);
    });
  }

  // The names of the rows, with the position of each: labels, the label that CTC aligns at that time, or numbers of bands.
  rowNames() {
    const { utterance, at } = this, { of, rows } = this.chosen, middle = (row) => (row + 0.5) * at.row;
    if (of === "encoder") return (utterance.spans || []).map(([start, end], index) => [((start + end) / 2) * at.row, display(utterance.pieces[index])]);
    return Array.from({ length: rows }, (_, row) => [middle(row), of === "bands" ? `${row + 1}` : display(utterance.pieces[row])]);
  }

  // The labels before, or bands, below the columns.
  nameColumns(box) {
    const { columns } = this.chosen, step = box.width / columns, every = Math.ceil(11 / step);
    for (let column = 0; column < columns; column += every) {
      this.text(this.columnName(column), box.x + (column + 0.5) * step, box.y + box.height + 10, "ink", "center");
    }
  }

  columnName(column) {
    if (this.chosen.of === "bands") return `${column + 1}`;
    return column ? display(this.utterance.pieces[column - 1]) : "▸";
  }

  drawAxis() {
    const { utterance, at, context } = this;
    const step = [0.1, 0.2, 0.5, 1, 2, 5].find((candidate) => candidate * at.scale >= 48) || 10;
    context.strokeStyle = this.color("soft");
    context.beginPath();
    for (let tick = 0; tick * step <= utterance.seconds + 1e-9; tick++) {
      const x = this.x(tick * step);
      context.moveTo(x, at.axis);
      context.lineTo(x, at.axis + 5);
      this.text(`${Number((tick * step).toFixed(1))}`, x, at.axis + 13, "soft", "center");
    }
    context.stroke();
    this.text("time (s)", GUTTER + (at.width - GUTTER - RIGHT) / 2, at.axis + 27, "soft", "center");
  }

  where(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return { seconds: (event.clientX - bounds.left - GUTTER) / this.at.scale, y: event.clientY - bounds.top };
  }

  read(event) {
    const { utterance, at } = this, { seconds, y } = this.where(event);
    if (!at) return;
    const below = at.attention ? y - at.attention.y : -1, row = at.attention ? Math.floor(below / at.row) : -1;
    if (row >= 0 && row < this.chosen.rows) return this.readWeight(event, row);
    if (seconds < 0 || seconds > utterance.seconds) return;
    const parts = [`${seconds.toFixed(2)} s`], frame = Math.floor(seconds / utterance.frame_s);
    if (at.ctc && frame < utterance.ctc.frames) {
      const best = utterance.ctc.names.map((name, row) => [utterance.bytes.ctc[row * utterance.ctc.frames + frame] / 255, name]).sort((a, b) => b[0] - a[0]);
      parts.push(`CTC: ${best.slice(0, 3).map(([value, name]) => `${display(name)} ${value.toFixed(2)}`).join(", ")}`);
    }
    byId("readout").textContent = parts.join(" · ");
  }

  readWeight(event, row) {
    const { utterance, at } = this, { of, columns, bytes } = this.chosen, { seconds } = this.where(event);
    const share = (seconds * at.scale) / at.attention.width, column = Math.floor(TIMED.has(of) ? seconds / utterance.frame_s : share * columns);
    if (column < 0 || column >= columns) return;
    const label = () => `label ${row + 1}: ${display(utterance.pieces[row])}`;
    const where = {
      decoder: () => [`${seconds.toFixed(2)} s`, label()],
      encoder: () => [`${seconds.toFixed(2)} s`, `query ${(row * utterance.frame_s).toFixed(2)} s`],
      labels: () => [label(), `key ${this.columnName(column)}`],
      bands: () => [`band ${row + 1}`, `key ${this.columnName(column)}`],
    }[of]();
    byId("readout").textContent = [...where, `weight ${((bytes[row * columns + column] / 255) ** 2).toFixed(3)}`].join(" · ");
  }

  seek(event) {
    const { seconds } = this.where(event);
    if (this.uris[this.utterance.id] && seconds >= 0) this.player.currentTime = Math.min(seconds, this.utterance.seconds);
  }

  follow() {
    const head = byId("playhead");
    head.hidden = false;
    head.style.left = `${this.x(Math.min(this.player.currentTime, this.utterance.seconds)) - 1}px`;
    if (!this.player.paused) requestAnimationFrame(() => this.follow());
  }
}

const uris = loadClips();
const utterances = stored("pictures");
if (utterances) new AttentionViewer(utterances, uris);
