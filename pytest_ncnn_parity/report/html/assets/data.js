// The cases as they stand in the page: columns, and texts by their places.

const data = JSON.parse(document.getElementById("data").textContent);

const textAt = (place) => (place < 0 ? "" : data.strings[place]);

/** A number of the report: inf and nan are texts there, null is one that was not measured. */
function number(value) {
  if (typeof value !== "string") return value;
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : NaN;
}

/** The largest of the candidate's values: where some are inf or nan alone, not that of the others. */
function largest(columns, i) {
  if (columns.nan[i]) return NaN;
  return columns.inf[i] ? Infinity : number(columns.candidate_absmax[i]);
}

/** A signal-to-noise ratio in dB as a share, like the other errors: its noise by its signal. */
const noise = (db) => 10 ** (-db / 20);

/** The error and what is allowed, by the criterion of which the case uses more: int8 is judged by SQNR. */
function asDrawn(one) {
  const { error, allowed, sqnr_db: sqnr, tolerance } = one;
  // where another scale than the largest value decides, the line is drawn where its tolerance ends
  const contradicts = one.used > 0 && (error > allowed) !== (one.used > 1);
  const end = contradicts && Number.isFinite(error) ? error / one.used : allowed;
  const usual = { error, allowed: end, what: `error ${shown(error)}, allowed ${shown(end)}` };
  if (!one.compared || sqnr === null || tolerance.sqnr_db === null) return usual;
  const least = noise(tolerance.sqnr_db);
  if (!(noise(sqnr) / least > error / allowed)) return usual;
  const what = `sqnr_db ${shown(sqnr)}, at least ${shown(tolerance.sqnr_db)}`;
  return { error: noise(sqnr), allowed: least, what, noise: true };
}

/** One model's cases, each an object made when it is asked for. */
class Cases {
  constructor(model) {
    this.model = model;
    this.columns = model.cases;
    this.count = model.cases.layer.length;
    this.objects = new Array(this.count);
    this.layerCount = model.layers.name.length;
  }

  at(i) {
    return (this.objects[i] ??= this.make(i));
  }

  make(i) {
    const { columns, model } = this;
    const layer = columns.layer[i];
    const output = columns.output[i];
    const isOutput = output >= 0;
    const [atol, rtol, scaled, cosine, sqnr] = model.tolerances[columns.tolerance[i]];
    const reference = number(columns.reference_absmax[i]);
    const one = {
      index: i,
      place: isOutput ? this.layerCount + output : layer,
      name: isOutput ? `output ${textAt(model.outputs[output])}` : textAt(model.layers.name[layer]),
      operator: isOutput ? "output" : textAt(model.layers.type[layer]),
      inputs: isOutput ? [] : model.layers.inputs[layer].map(textAt),
      outputs: isOutput ? [] : model.layers.outputs[layer].map(textAt),
      compared: columns.scaled[i] !== null,
      error: number(columns.scaled[i]),
      accumulated: number(columns.accumulated[i]),
      reference,
      candidate: largest(columns, i),
      used: number(columns.used[i]),
      allowed: scaled === null ? null : scaled + rtol + (atol && reference ? atol / reference : 0),
      tolerance: { atol, rtol, scaled, cosine, sqnr_db: sqnr },
      message: columns.message[i].map(textAt),
    };
    for (const name of ["verdict", "cause", "comparison", "sample", "execution"]) {
      one[name] = textAt(columns[name][i]);
    }
    one.nodeid = `${textAt(columns.node[i])}::${textAt(columns.item[i])}`;
    for (const name of ["max_abs", "cosine", "sqnr_db", "nan", "inf", "mismatched", "total"]) {
      one[name] = number(columns[name][i]);
    }
    one.drawn = asDrawn(one);
    return one;
  }

  all() {
    return Array.from({ length: this.count }, (_, i) => this.at(i));
  }
}

/** A number as text, and short. */
function shown(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e6 && Number.isInteger(value)) return String(value);
  if (size < 1e6 && size >= 1e-3) return String(Number(value.toPrecision(digits)));
  return value.toExponential(2);
}

/** An element with attributes and children; texts become text, never markup. */
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function svgElement(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
