// Pixels: from PNG to numbers, and onto canvases.
import { element } from "./page.js";

const scratch = document.createElement("canvas");

export async function pixelsOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  scratch.width = bitmap.width;
  scratch.height = bitmap.height;
  const context = scratch.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

export function makeFigure(name) {
  const canvas = element("canvas", { role: "img", "aria-label": name });
  return { all: element("figure", {}, [canvas, element("figcaption", { text: name })]), canvas };
}

export function drawImage({ canvas }, pixels) {
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    canvas.width = pixels.width;
    canvas.height = pixels.height;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// Grey is no difference; a level more or less counts `gain` levels.
export function drawDifference(figure, pixels, start, gain) {
  const drawn = new ImageData(pixels.width, pixels.height);
  for (let i = 0; i < drawn.data.length; i += 1) {
    drawn.data[i] = i % 4 === 3 ? 255 : 128 + gain * (pixels.data[i] - start.data[i]);
  }
  drawImage(figure, drawn);
}

export function meanChange(pixels, start) {
  let sum = 0;
  for (let i = 0; i < pixels.data.length; i += 1) {
    if (i % 4 !== 3) sum += Math.abs(pixels.data[i] - start.data[i]);
  }
  return sum / ((pixels.data.length / 4) * 3);
}
