// The target: a slider for each class. All are whole numbers of ten-thousandths that sum to 1.
import { element, find } from "./page.js";

const WHOLE = 10000;
const DIGITS = 4;
const MANY = 20; // classes that scroll in a box of their own

// Shares of WHOLE in proportion to weights; the largest remainders get what rounding leaves.
export function apportion(weights, whole = WHOLE) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const exact = weights.map((weight) => (total > 0 ? (weight / total) * whole : whole / weights.length));
  const parts = exact.map(Math.floor);
  const order = exact.map((value, k) => [value - parts[k], k]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const left = whole - parts.reduce((sum, part) => sum + part, 0);
  for (let i = 0; i < left; i += 1) parts[order[i % order.length][1]] += 1;
  return parts;
}

export const PRESETS = {
  // The classifier's own output, its two largest classes exchanged.
  swap(output) {
    const [first, second] = descending(output);
    const swapped = [...output];
    [swapped[first], swapped[second]] = [output[second], output[first]];
    return swapped;
  },
  uniform: (output) => output.map(() => 1),
  // Each class has half of the one before it, in the order that they have now.
  ranked(output, values) {
    const ranked = [...values];
    descending(values.map((value, k) => value + output[k] / WHOLE)).forEach((k, rank) => { ranked[k] = 2 ** -rank; });
    return ranked;
  },
  // Paper A's: 0.9 for the most likely class, 0.1 for the next one.
  paper(output) {
    const [first, second] = descending(output);
    return output.map((_, k) => (k === first ? 9 : k === second ? 1 : 0));
  },
};

export function descending(values) {
  return values.map((_, k) => k).sort((a, b) => values[b] - values[a] || a - b);
}

export class Target {
  constructor(names, onChange) {
    this.onChange = onChange;
    this.parts = apportion(names.map(() => 1));
    this.rows = names.map((name, k) => this.makeRow(name, k));
    find("classes").replaceChildren(...this.rows.map((row) => row.all));
    find("classes").classList.toggle("many", names.length > MANY);
    this.draw();
  }

  get values() { return this.parts.map((part) => part / WHOLE); }

  makeRow(name, k) {
    const slider = element("input", { type: "range", min: 0, max: WHOLE, step: 10, "aria-label": `${name}, asked for` });
    const number = element("input", { type: "number", min: 0, max: 1, step: 0.01, "aria-label": `${name}, asked for, as a number` });
    const mark = element("div", { className: "asked" });
    const bars = element("div", { className: "bars", "aria-hidden": "true" }, [mark]);
    const value = element("div", { className: "value" });
    slider.addEventListener("input", () => this.move(k, Number(slider.value)));
    number.addEventListener("change", () => this.move(k, Math.round(Number(number.value) * WHOLE)));
    const label = element("div", { className: "name", text: name, title: name });
    return { all: element("div", { className: "class" }, [label, slider, number, bars, value]), slider, number, mark, bars, value, name };
  }

  // Moves one class; the others share the rest in proportion.
  move(k, part) {
    const own = Math.min(WHOLE, Math.max(0, Number.isFinite(part) ? part : 0));
    const others = this.parts.filter((_, other) => other !== k);
    const rest = apportion(others, WHOLE - own);
    this.parts = [...rest.slice(0, k), own, ...rest.slice(k)];
    this.draw();
    this.onChange();
  }

  set(weights) {
    this.parts = apportion(weights);
    this.draw();
    this.onChange();
  }

  // Probabilities typed by hand are taken as they are, or refused.
  type(text) {
    const values = text.trim().split(/[\s,;]+/).map(Number);
    if (values.length !== this.rows.length || values.some((value) => !(value >= 0 && value <= 1))) {
      throw new Error(`expected ${this.rows.length} numbers from 0 to 1, one for each class; got ${text.trim().slice(0, 80) || "nothing"}`);
    }
    const sum = values.reduce((a, b) => a + b, 0);
    if (Math.abs(sum - 1) > 1e-3) throw new Error(`the probabilities must sum to 1, got ${sum.toFixed(4)}`);
    this.set(values);
  }

  draw() {
    this.rows.forEach((row, k) => {
      const value = this.parts[k] / WHOLE;
      row.slider.value = this.parts[k];
      row.slider.setAttribute("aria-valuetext", value.toFixed(DIGITS));
      if (document.activeElement !== row.number || Number(row.number.value) !== value) row.number.value = value.toFixed(DIGITS);
      row.mark.style.left = `calc(${100 * value}% - 1px)`;
    });
    if (document.activeElement !== find("typed")) find("typed").value = this.values.join(" ");
  }

  // The outputs that the rules have reached, one bar a rule.
  drawReached(outputs) {
    this.rows.forEach((row, k) => {
      while (row.bars.children.length - 1 < outputs.length) {
        const number = row.bars.children.length - 1;
        row.bars.append(element("div", { className: `bar of-${number}` }, [element("span")]));
      }
      while (row.bars.children.length - 1 > outputs.length) row.bars.lastChild.remove();
      outputs.forEach((output, number) => {
        row.bars.children[number + 1].firstChild.style.transform = `scaleX(${output[k] ?? 0})`;
      });
      row.value.replaceChildren(...outputs.map((output) => element("div", { text: output[k] === null ? "–" : output[k].toFixed(3) })));
    });
  }
}
