// The tab "GANs": images of a class by key, and the way between two keys.
import { element, find, guarded, option, picture, postJson, say, whileSaying } from "./page.js";
import { empty, verdict } from "./sets.js";

export function startGans({ gans }) {
  const panel = find("gans");
  if (!gans.length) {
    panel.replaceChildren(empty("No GAN is open.", "elicit explore --gan RUN"));
    return;
  }
  panel.replaceChildren(...gans.map((gan, number) => new ShownGan(gan, number).all));
}

const keyField = (value) => element("input", { type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value });

class ShownGan {
  constructor(gan, number) {
    this.gan = gan;
    this.number = number;
    const labelled = (text, field) => element("label", { text }, [field]);
    this.label = element("select", {}, gan.class_names.map((name, k) => option(k, name)));
    [this.key, this.from, this.to] = [keyField(0), keyField(0), keyField(1)];
    this.kind = element("select", {}, [option("", "all"), option("tp", "true positives"), option("fp", "false positives")]);
    this.kind.disabled = true;
    this.words = element("p", { className: "note", role: "status" });
    this.list = element("ul", { className: "cards small" });
    this.path = element("div", { className: "way" });
    this.pathWords = element("p", { className: "note", role: "status" });
    const sample = element("button", { text: "Sample" }), between = element("button", { text: "Interpolate" });
    sample.addEventListener("click", guarded(() => this.sample()));
    between.addEventListener("click", guarded(() => this.between()));
    this.label.addEventListener("change", guarded(() => this.sample()));
    this.key.addEventListener("change", guarded(() => this.sample()));
    this.kind.addEventListener("change", () => this.draw());
    this.all = element("section", { "aria-label": gan.name }, [
      element("h2", { text: `${gan.name}, ${gan.model}` }),
      element("div", { className: "filters" }, [labelled("Class", this.label), labelled("Key", this.key), sample, labelled("Classified as", this.kind)]),
      this.words, this.list,
      element("h2", { text: "Between two keys" }),
      element("div", { className: "filters" }, [labelled("From key", this.from), labelled("To key", this.to), between]),
      element("p", { className: "note", text: "Nine images of the class above, evenly spaced on the straight line between the noises of the two keys." }),
      this.pathWords, this.path,
    ]);
    guarded(() => this.sample())();
  }

  get wish() { return { label: Number(this.label.value) }; }

  async sample() {
    const wish = { ...this.wish, keys: [wholeKey(this.key)] };
    this.asked = wish;
    const words = "Sampling; the first time, the generator is compiled …";
    const found = await whileSaying(this.words, words, () => postJson(`api/gans/${this.number}`, wish));
    if (this.asked !== wish) return; // others were asked for meanwhile
    this.found = { ...found, label: wish.label };
    this.kind.disabled = !this.found.is_sorted;
    this.draw();
  }

  draw() {
    const { images, label, is_sorted: isSorted } = this.found, right = images.filter((image) => image.is_tp).length;
    this.words.textContent = isSorted
      ? `${right} of ${images.length} are true positives by the classifier; the number is its confidence.`
      : "The classifier has other classes or another image size, so nothing is known of true and false positives.";
    const kept = isSorted && this.kind.value ? images.filter((image) => image.is_tp === (this.kind.value === "tp")) : images;
    this.list.replaceChildren(...kept.map((image) => element("li", {}, [this.card(image, label)])));
  }

  card(image, label) {
    const name = this.gan.class_names[label];
    const lines = "predicted" in image
      ? [verdict({ predicted: image.predicted, label }, this.gan.class_names), element("div", { text: image.confidence.toFixed(3) })]
      : [];
    return element("div", { className: "card" }, [element("div", { className: "pair" }, [picture(image.image, `Generated ${name}`)]), ...lines]);
  }

  async between() {
    const keys = [wholeKey(this.from), wholeKey(this.to)];
    const found = await whileSaying(this.pathWords, "Interpolating …", () => postJson(`api/gans/${this.number}`, { ...this.wish, keys }));
    say(`${found.images.length} images between the keys ${keys.join(" and ")}`);
    this.path.replaceChildren(...found.images.map((image, k) => {
      const is = "is_tp" in image ? (image.is_tp ? ", true positive" : ", false positive") : "";
      return picture(image.image, `Image ${k + 1} of ${found.images.length}${is}`, { title: is.slice(2) || null });
    }));
  }
}

function wholeKey(field) {
  const value = Number(field.value);
  if (field.value === "" || !Number.isInteger(value) || value < 0) throw new Error(`a key must be a whole number of at least 0, got ${field.value || "nothing"}`);
  return value;
}
