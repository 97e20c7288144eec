// As much of a canvas's context as the plot paints with, written down as SVG.

const SET = ["fillStyle", "strokeStyle", "lineWidth", "globalAlpha", "font", "textAlign", "lineCap", "lineJoin"];

export class Vector {
  fillStyle = "black";
  strokeStyle = "black";
  lineWidth = 1;
  globalAlpha = 1;
  font = "11px sans-serif";
  textAlign = "left";
  lineCap = "butt";
  lineJoin = "miter";

  constructor(width, height, { background }) {
    Object.assign(this, { width, height, parts: [], path: [], dash: [], kept: [], clips: 0 });
    this.measure = new OffscreenCanvas(1, 1).getContext("2d");
    this.parts.push(`<rect width="${width}" height="${height}" fill="${background}"/>`);
  }

  text() {
    const head = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">`;
    return `${head}\n${this.parts.join("\n")}\n</svg>\n`;
  }

  save() {
    this.kept.push({ set: SET.map((name) => this[name]), dash: this.dash, open: 0 });
  }

  restore() {
    const { set, dash, open } = this.kept.pop();
    SET.forEach((name, at) => (this[name] = set[at]));
    this.dash = dash;
    for (let each = 0; each < open; each++) this.parts.push("</g>");
  }

  group(attributes) {
    this.parts.push(attributes ? `<g ${attributes}>` : "<g>");
    this.kept.at(-1).open += 1;
  }

  translate(x, y) {
    this.group(`transform="translate(${n(x)} ${n(y)})"`);
  }

  clip() {
    const id = `clip${++this.clips}`;
    this.parts.push(`<clipPath id="${id}"><path d="${this.path.join("")}"/></clipPath>`);
    this.group(`clip-path="url(#${id})"`);
  }

  beginPath() {
    this.path = [];
  }

  moveTo(x, y) {
    this.path.push(`M${n(x)} ${n(y)}`);
  }

  lineTo(x, y) {
    this.path.push(`${this.path.length ? "L" : "M"}${n(x)} ${n(y)}`);
  }

  closePath() {
    this.path.push("Z");
  }

  rect(x, y, width, height) {
    this.path.push(`M${n(x)} ${n(y)}h${n(width)}v${n(height)}h${n(-width)}Z`);
  }

  arc(x, y, r) { // whole circles only
    this.path.push(`M${n(x + r)} ${n(y)}A${n(r)} ${n(r)} 0 1 1 ${n(x - r)} ${n(y)}A${n(r)} ${n(r)} 0 1 1 ${n(x + r)} ${n(y)}Z`);
  }

  setLineDash(dash) {
    this.dash = dash;
  }

  fill() {
    this.put(`<path d="${this.path.join("")}" fill="${this.fillStyle}"${this.sheer}/>`);
  }

  stroke() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    this.put(`<path d="${this.path.join("")}" fill="none"${this.pen}${dash}${this.sheer}/>`);
  }

  get pen() {
    const ends = this.lineCap === "butt" ? "" : ` stroke-linecap="${this.lineCap}"`;
    const joins = this.lineJoin === "miter" ? "" : ` stroke-linejoin="${this.lineJoin}"`;
    return ` stroke="${this.strokeStyle}" stroke-width="${n(this.lineWidth)}"${ends}${joins}`;
  }

  get sheer() {
    return this.globalAlpha < 1 ? ` opacity="${n(this.globalAlpha)}"` : "";
  }

  put(part) {
    if (this.path.length) this.parts.push(part);
  }

  fillRect(x, y, width, height) {
    this.parts.push(`<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" fill="${this.fillStyle}"${this.sheer}/>`);
  }

  fillText(text, x, y) {
    this.write(text, x, y, `fill="${this.fillStyle}"`);
  }

  strokeText(text, x, y) {
    this.write(text, x, y, `fill="none"${this.pen}`);
  }

  write(text, x, y, ink) {
    const anchor = { center: "middle", right: "end" }[this.textAlign] ?? "start";
    const size = /([\d.]+)px/.exec(this.font)?.[1] ?? 11;
    const weight = /^\d{3}\b/.exec(this.font)?.[0];
    const bold = weight ? ` font-weight="${weight}"` : "";
    this.parts.push(`<text x="${n(x)}" y="${n(y)}" font-family="system-ui, sans-serif" font-size="${size}"${bold} text-anchor="${anchor}" ${ink}>${escapeXml(text)}</text>`);
  }

  measureText(text) {
    this.measure.font = this.font;
    return this.measure.measureText(text);
  }

  drawImage(picture, x, y, width = picture.width, height = picture.height) {
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [picture.width || picture.naturalWidth, picture.height || picture.naturalHeight];
    sheet.getContext("2d").drawImage(picture, 0, 0);
    this.parts.push(`<image xlink:href="${sheet.toDataURL("image/png")}" x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" preserveAspectRatio="none"${this.sheer}/>`);
  }
}

function n(value) {
  return String(Math.round(value * 100) / 100);
}

// XML has no other letters, not even escaped ones.
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

// The text of an SVG without them.
export function plain(text) {
  return text.replace(FORBIDDEN, "\ufffd");
}

function escapeXml(text) {
  return plain(String(text)).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
