// The tab "Sets": images of a set beside their originals, filtered and sorted.
import { element, find, getJson, guarded, option, picture, postJson, say, shown, whileSaying } from "./page.js";

const WORST = { kl: true, max_error: true, confidence: false };

export function startSets({ sets }) {
  const panel = find("sets");
  if (!sets.length) {
    panel.replaceChildren(empty("No image set is open.", "elicit explore --images DIR"));
    return;
  }
  panel.replaceChildren(...sets.map((set, number) => (set.error ? broken(set) : new ShownSet(set, number).all)));
}

const inWords = (name) => (name === "kl" ? "KL" : name.replaceAll("_", " "));

export function empty(words, command) {
  return element("section", {}, [element("p", { text: words }), element("p", {}, ["Start with ", element("code", { text: command }), "."])]);
}

function broken(set) {
  return element("section", {}, [element("h2", { text: set.name }), element("p", { text: set.error })]);
}

class ShownSet {
  constructor(set, number) {
    this.set = set;
    this.number = number;
    this.page = 0;
    this.list = element("ul", { className: "cards" });
    this.words = element("p", { className: "note", role: "status" });
    this.makeFilters();
    const title = element("h2", { text: set.name });
    const pages = element("div", { className: "row" }, [this.before, this.after, this.words]);
    this.all = element("section", { "aria-label": set.name }, [title, this.filters, pages, this.list]);
    this.show();
  }

  makeFilters() {
    const { columns, class_names: names } = this.set;
    const change = () => { this.page = 0; this.show(); };
    const select = (...options) => element("select", {}, options);
    this.label = select(option("", "all"), ...names.map((name, k) => option(k, name)));
    this.verdict = select(option("all", "all"), option("tp", "true positives"), option("fp", "false positives"));
    this.kl = element("input", { type: "number", min: 0, step: "any", placeholder: "any" });
    this.sort = select(...columns.map((name) => option(name, inWords(name))));
    this.order = select(option("", "smallest first"), option("1", "largest first"));
    this.sort.addEventListener("change", () => { this.order.value = ""; });
    const worst = element("button", { text: "Worst first" });
    const by = Object.keys(WORST).find((name) => columns.includes(name));
    worst.addEventListener("click", () => { this.sort.value = by; this.order.value = WORST[by] ? "1" : ""; change(); });
    worst.hidden = !by;
    const labelled = (text, field) => element("label", { text }, [field]);
    const fields = [labelled("Class", this.label)];
    if (columns.includes("predicted")) fields.push(labelled("Classified as", this.verdict));
    if (columns.includes("kl")) fields.push(labelled("KL at least", this.kl));
    fields.push(labelled("Sorted by", this.sort), labelled("Order", this.order), worst);
    this.filters = element("div", { className: "filters" }, fields);
    this.filters.addEventListener("change", change);
    this.before = element("button", { text: "‹ Previous", disabled: "" });
    this.after = element("button", { text: "Next ›", disabled: "" });
    this.before.addEventListener("click", () => { this.page -= 1; this.show(); });
    this.after.addEventListener("click", () => { this.page += 1; this.show(); });
  }

  show = guarded(async () => {
    const query = {
      page: this.page, label: this.label.value === "" ? null : Number(this.label.value), verdict: this.verdict.value,
      least_kl: this.kl.value === "" ? null : Number(this.kl.value), sort: this.sort.value, descending: Boolean(this.order.value),
    };
    this.query = query;
    const found = await whileSaying(this.words, "Reading …", () => postJson(`api/sets/${this.number}`, query));
    if (this.query !== query) return; // a later one was asked for meanwhile
    const hasOriginals = found.images.some((image) => image.original);
    const isMade = found.images.some((image) => image.source_id);
    const absent = isMade ? "; the originals are not in the explored data: start with --data and --split of theirs" : "";
    const beside = hasOriginals ? "; on the left the originals, on the right what was made of them" : absent;
    this.words.textContent = `${found.total.toLocaleString("en")} images, page ${this.page + 1} of ${found.pages}${beside}`;
    this.before.disabled = this.page === 0;
    this.after.disabled = this.page + 1 >= found.pages;
    this.list.replaceChildren(...found.images.map((image) => element("li", {}, [this.card(image, hasOriginals)])));
  });

  // Where other images of the page stand beside their originals, one without leaves that place free.
  card(image, hasOriginals) {
    const { class_names: names } = this.set;
    const first = image.original ? picture(image.original, "Original") : element("span", { text: hasOriginals ? "original not at hand" : "" });
    const pair = hasOriginals ? [first, picture(image.image, "Made")] : [picture(image.image, image.id)];
    const lines = [element("div", { text: names[image.numbers.label] })];
    if ("predicted" in image.numbers) lines.push(verdict(image.numbers, names));
    if ("kl" in image.numbers) lines.push(element("div", { text: `KL ${shown(image.numbers.kl)}` }));
    const card = element("button", { className: "card", title: "All numbers" }, [element("div", { className: "pair" }, pair), ...lines]);
    card.addEventListener("click", guarded(() => this.details(image.row)));
    return card;
  }

  async details(row) {
    const found = await getJson(`api/sets/${this.number}/${row}`);
    const { class_names: names } = this.set;
    const pictures = [picture(found.image, "Made")];
    if (found.original) pictures.unshift(picture(found.original, "Original"));
    const numbers = Object.entries(found.numbers).map(([name, value]) => [name, name === "label" || name === "predicted" ? names[value] : value ?? "not finite"]);
    if (found.source_id !== null) numbers.push(["made from", found.source_id]);
    const parts = [element("div", { className: "row" }, pictures.map(captioned)), facts(numbers, `Numbers of ${found.id}`)];
    if (found.output) {
      const rows = names.map((name, k) => [name, shown(found.target?.[k], 4), shown(found.output[k], 4)]);
      parts.push(table(["class", "asked", "reached"], rows, "Asked and reached"));
    }
    find("details-title").textContent = found.id;
    find("details-body").replaceChildren(...parts);
    find("details").showModal();
    say(`Numbers of ${found.id}`);
  }
}

function captioned(image) {
  return element("figure", {}, [image, element("figcaption", { text: image.alt })]);
}

export function verdict({ predicted, label }, names) {
  const isTrue = predicted === label;
  return element("div", { className: isTrue ? "tp" : "fp", text: `${isTrue ? "TP" : "FP"}: ${names[predicted]}` });
}

const NUMBER = /^[-+]?[\d.,]+(e[-+]?\d+)?%?( ± [\d.]+)?( %)?( \[.*\])?$/;

// Names with their values; long values break anywhere, so that the table fits a narrow page.
export function facts(pairs, name) {
  const rows = pairs.map(([key, value]) => element("tr", {}, [element("th", { scope: "row", text: inWords(key) }), element("td", { text: value })]));
  return element("table", { className: "facts", "aria-label": name }, [element("tbody", {}, rows)]);
}

export function table(header, rows, name) {
  const isNumeric = header.map((_, k) => {
    const cells = rows.map((row) => String(row[k] ?? "").trim()).filter((text) => !["", "–", "-"].includes(text));
    return k > 0 && cells.length > 0 && cells.every((text) => NUMBER.test(text));
  });
  const align = (k, value) => (isNumeric[k] || (k > 0 && NUMBER.test(value)) ? "number" : "");
  const head = element("thead", {}, [element("tr", {}, header.map((text, k) => element("th", { scope: "col", text, className: isNumeric[k] ? "number" : "" })))]);
  const body = element("tbody", {}, rows.map((row) => element("tr", {}, row.map((value, k) => (
    k === 0 ? element("th", { scope: "row", text: value }) : element("td", { className: align(k, value), text: value })
  )))));
  return element("div", { className: "scroll", tabindex: 0, role: "region", "aria-label": name }, [element("table", {}, [head, body])]);
}
