// The charts of a model: fills Bokeh's figures with a comparison's cases, in the page's own colours.

const templates = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const FP16_MAX = 65504;
const FP16_LEAST = 2 ** -14;
const MARKS = { x: "cross" };
const NAMED = 5; // red layers with their names in the chart

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Bokeh is run when a chart is wanted first: what is red can be read before. */
function loadLibrary() {
  const waiting = document.getElementById("library");
  if (waiting.type !== "text/plain") return;
  const run = element("script", { id: "library" }, waiting.textContent);
  waiting.replaceWith(run);
  Bokeh.logger.set_level("warn");
}

/** A log scale of what is finite, between a band for inf and nan above and one for 0 below. */
class Scale {
  constructor(values) {
    const measured = values.filter((value) => value !== null && value !== undefined);
    const drawn = measured.filter((value) => Number.isFinite(value) && value > 0);
    const least = Math.min(...drawn, 1);
    this.floor = Math.floor(Math.log10(least / 1.5));
    this.ceiling = Math.ceil(Math.log10(Math.max(...drawn, least * 100) * 1.5));
    this.zero = measured.some((value) => !(value > 0) && value <= 0);
    this.inf = measured.some((value) => !Number.isFinite(value));
    const band = 10 ** ((this.ceiling - this.floor) / 8);
    this.least = 10 ** this.floor / (this.zero ? band : 1);
    this.most = 10 ** this.ceiling * (this.inf ? band : 1);
    this.low = this.zero ? this.least * Math.sqrt(band) : this.least;
    this.high = this.inf ? this.most / Math.sqrt(band) : this.most;
  }

  y(value) {
    if (Number.isNaN(value) || Math.abs(value) === Infinity) return this.high;
    return value > 0 ? value : this.low;
  }

  /** Powers of ten, no more than eight. */
  get ticks() {
    const step = Math.max(1, Math.ceil((this.ceiling - this.floor) / 7));
    const powers = [];
    for (let power = this.floor; power <= this.ceiling; power += step) powers.push(10 ** power);
    return powers;
  }
}

function shapeOf(value, otherwise) {
  if (Number.isNaN(value)) return "x";
  return Math.abs(value) === Infinity ? "triangle" : otherwise;
}

class Charts {
  constructor(section, cases, table) {
    this.section = section;
    this.all = cases.all();
    this.table = table;
    this.layers = cases.layerCount;
    this.form = section.querySelector(".charts form");
    const compared = this.all.filter((c) => c.compared);
    this.empty = compared.length === 0;
    if (!this.empty) this.fillControls(compared);
  }

  fillControls(compared) {
    const failed = (name) => compared.filter((c) => c.comparison === name && c.verdict === "failed").length;
    const names = [...new Set(compared.map((c) => c.comparison))];
    const samples = [...new Set(compared.map((c) => c.sample))];
    const { comparison, sample } = this.form.elements;
    comparison.append(...names.map((v) => element("option", { value: v }, v)));
    if (samples.length > 1) sample.append(element("option", { value: "" }, "all"));
    sample.append(...samples.map((v) => element("option", { value: v }, v)));
    comparison.value = names.reduce((best, name) => (failed(name) > failed(best) ? name : best));
    this.section.querySelector(".charts").hidden = false;
  }

  /** Draw both charts, once they are wanted. */
  async start() {
    loadLibrary();
    this.drawn = {};
    for (const kind of ["errors", "ranges"]) {
      const target = this.section.querySelector(`[data-chart=${kind}]`);
      const views = await Bokeh.embed.embed_item(structuredClone(templates[kind]), target.id);
      const figure = [...views][0].model;
      const source = (name) => figure.select(name).find((model) => model.type === "ColumnDataSource");
      this.drawn[kind] = { figure, target, source };
      const points = source("points");
      points.selected.properties.indices.change.connect(() => this.chosen(points));
    }
    this.linkRanges();
    this.form.addEventListener("input", () => this.fill());
    dark.addEventListener("change", () => this.fill());
    this.fill();
    this.section.dataset.drawn = String(Math.round(performance.now()));
  }

  linkRanges() {
    const [a, b] = ["errors", "ranges"].map((kind) => this.drawn[kind].figure.x_range);
    for (const [from, to] of [[a, b], [b, a]]) {
      for (const end of ["start", "end"]) {
        from.properties[end].change.connect(() => {
          if (to[end] !== from[end]) to[end] = from[end];
        });
      }
    }
  }

  chosen(points) {
    const [index] = points.selected.indices;
    if (index === undefined) return;
    const name = points.data.name[index];
    points.selected.indices = [];
    this.table.search(name);
  }

  fill() {
    const { comparison, sample } = this.form.elements;
    const cases = this.all
      .filter((c) => c.comparison === comparison.value && (!sample.value || c.sample === sample.value))
      .sort((a, b) => a.place - b.place);
    const last = Math.max(this.layers, ...cases.map((c) => c.place + 1));
    for (const { figure } of Object.values(this.drawn)) {
      this.paint(figure);
      figure.x_range.setv({ start: -0.02 * last - 0.5, end: 1.02 * last - 0.5 });
    }
    this.fillErrors(cases);
    this.fillRanges(cases);
  }

  paint(figure) {
    const ink = colour("quiet");
    for (const axis of [...figure.below, ...figure.left]) {
      axis.setv({ axis_label_text_color: ink, major_label_text_color: ink });
      axis.setv({ axis_line_color: colour("rule"), major_tick_line_color: colour("rule") });
    }
    for (const part of figure.center) {
      if (part.type === "Grid") part.grid_line_color = colour("rule");
      if (part.type === "Label") part.text_color = ink;
      if (part.type === "Span") part.line_color = colour("allowed");
    }
  }

  fillErrors(cases) {
    const { figure, source, target } = this.drawn.errors;
    const compared = cases.filter((c) => c.compared);
    const tolerances = compared.map((c) => c.drawn.allowed || null); // a tolerance of 0 has no line
    const aside = compared.length < cases.length ? [0] : []; // what was skipped stands where 0 does
    const scale = new Scale([...compared.flatMap((c) => [c.drawn.error, c.accumulated]), ...aside, ...tolerances]);
    this.scaleTo(figure, scale);
    this.points("errors", cases.map((c) => this.errorPoint(c, scale)), scale);
    source("allowed").data = this.line(compared, (c) => c.drawn.allowed || scale.low);
    const accumulated = compared.filter((c) => c.accumulated !== null);
    source("accumulated").data = this.line(accumulated, (c) => scale.y(c.accumulated));
    this.colourLine(figure, "allowed", "allowed");
    this.colourLine(figure, "accumulated", "accumulated");
    const notes = [
      accumulated.length ? "" : "--ncnn-parity-accumulated adds the accumulated error",
      compared.some((c) => c.drawn.noise) ? "where sqnr_db decides, the error is noise / signal" : "",
    ];
    this.section.querySelector("[data-note]").textContent = notes.filter(Boolean).join("; ");
    this.section.querySelector("[data-accumulated]").hidden = accumulated.length === 0;
    target.ariaLabel = this.summary("Error of each layer", cases);
  }

  errorPoint(c, scale) {
    const named = { x: c.place, name: c.name };
    if (!c.compared) {
      const what = `${c.verdict}: ${c.message[0] ?? ""}`;
      return { ...named, y: scale.low, size: 5, shape: "circle", fill: "skipped", what };
    }
    const red = c.verdict !== "passed";
    const { error } = c.drawn;
    const shape = shapeOf(error, red ? "square" : "circle");
    const what = `${c.verdict} (${c.sample}): ${c.drawn.what}` +
      (c.accumulated === null ? "" : `, accumulated ${shown(c.accumulated)}`);
    return { ...named, y: scale.y(error), size: red ? 10 : 5, shape, fill: red ? "failed" : "own", red, what };
  }

  fillRanges(cases) {
    const { figure, target } = this.drawn.ranges;
    const compared = cases.filter((c) => c.compared);
    const values = compared.flatMap((c) => [c.reference, c.candidate]);
    const scale = new Scale([...values, FP16_MAX, FP16_LEAST]);
    this.scaleTo(figure, scale);
    const points = compared.flatMap((c) => this.rangePoints(c, scale));
    this.points("ranges", points, scale);
    target.ariaLabel = this.summary("Range of values", cases);
  }

  rangePoints(c, scale) {
    const point = (who, value, shape, fill) => {
      const red = Math.abs(value) > FP16_MAX || Number.isNaN(value);
      const what = `largest of the ${who} (${c.sample}): ${shown(value, 6)}`;
      const at = { x: c.place, y: scale.y(value), name: c.name, what, red: red && who === "reference" };
      const beyond = red && !Number.isNaN(value) ? "triangle" : shapeOf(value, shape);
      return { ...at, shape: beyond, size: red ? 10 : 5, fill: red ? "failed" : fill };
    };
    const own = point("reference", c.reference, "circle", "own");
    return c.candidate === null ? [own] : [point("candidate", c.candidate, "diamond", "accumulated"), own];
  }

  points(kind, points, scale) {
    const { source, figure } = this.drawn[kind];
    points.sort((a, b) => Number(a.red ?? false) - Number(b.red ?? false)); // red ones on top
    const hollow = (p) => p.fill === "skipped" || p.shape === "diamond";
    const columns = { fill: (p) => (hollow(p) ? "transparent" : colour(p.fill)), line: (p) => colour(p.fill) };
    const names = ["x", "y", "size", "shape", "name", "what"];
    source("points").data = {
      ...Object.fromEntries(names.map((name) => [name, points.map((p) => p[name])])),
      ...Object.fromEntries(Object.entries(columns).map(([name, of]) => [name, points.map(of)])),
    };
    this.nameRed(source("names"), figure, points);
    this.explain(kind, points);
  }

  /** Show of the legend what is drawn. */
  explain(kind, points) {
    const marks = new Set(points.map((p) => (p.fill === "skipped" ? "hollow" : MARKS[p.shape] ?? p.shape)));
    for (const key of this.drawn[kind].target.closest("figure").querySelectorAll(".legend .key[data-mark]")) {
      key.hidden = !marks.has(key.dataset.mark);
    }
  }

  nameRed(source, figure, points) {
    const red = new Map(points.filter((p) => p.red).map((p) => [p.name, p]));
    const left = (p) => p.x > this.layers / 2;
    const unit = figure.x_range.end / (this.drawn.errors.target.clientWidth || 1);
    const taken = [];
    const free = (p) => {
      const width = (p.name.length * 7.5 + 16) * unit;
      const [from, to] = left(p) ? [p.x - width, p.x] : [p.x, p.x + width];
      const near = (y) => y / p.y < 10 && p.y / y < 10;
      if (taken.some(([start, end, y]) => from < end && start < to && near(y))) return false;
      return taken.push([from, to, p.y]);
    };
    const named = [...red.values()].filter(free).slice(0, NAMED);
    source.data = {
      x: named.map((p) => p.x),
      y: named.map((p) => p.y),
      text: named.map((p) => p.name),
      align: named.map((p) => (left(p) ? "right" : "left")),
      dx: named.map((p) => (left(p) ? -9 : 9)),
    };
    const renderer = figure.renderers.find((one) => one.name === "names");
    renderer.glyph.text_color = { value: colour("failed") };
  }

  scaleTo(figure, scale) {
    figure.y_range.setv({ start: scale.least, end: scale.most });
    figure.left[0].ticker.ticks = scale.ticks;
    const bands = {
      0: { y: scale.low, bottom: scale.least, top: 10 ** scale.floor, visible: scale.zero },
      inf: { y: scale.high, bottom: 10 ** scale.ceiling, top: scale.most, visible: scale.inf },
    };
    for (const part of figure.center) {
      const { y, bottom, top, visible } = bands[part.text ?? part.name] ?? {};
      if (part.type === "Label") part.setv({ y, visible });
      if (part.type === "BoxAnnotation") part.setv({ bottom, top, visible, fill_color: colour("rule") });
    }
  }

  colourLine(figure, name, ink) {
    const renderer = figure.renderers.find((one) => one.name === name);
    renderer.glyph.line_color = { value: colour(ink) };
  }

  /** One line per sample, with a gap between them. */
  line(cases, y) {
    const x = [];
    const ys = [];
    for (const sample of new Set(cases.map((c) => c.sample))) {
      for (const c of cases) {
        if (c.sample === sample) {
          x.push(c.place);
          ys.push(y(c));
        }
      }
      x.push(NaN);
      ys.push(NaN);
    }
    return { x, y: ys };
  }

  summary(what, cases) {
    const red = [...new Set(cases.filter((c) => c.verdict === "failed").map((c) => c.name))];
    const more = red.length > NAMED ? ` and ${red.length - NAMED} more` : "";
    const who = red.length ? `red: ${red.slice(0, NAMED).join(", ")}${more}` : "none is red";
    return `${what}, ${this.form.elements.comparison.value}, ${this.layers} layers; ${who}. The table has the numbers.`;
  }
}
