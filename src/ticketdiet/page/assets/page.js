"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const tip = document.getElementById("tip");
  document.documentElement.classList.add("js");

  const numbers = (text) => text.split(" ").filter(Boolean).map(Number);
  const each = (root, selector, act) => root.querySelectorAll(selector).forEach(act);

  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + "px";
    tip.style.top = (y - box.height - 12 > 4 ? y - box.height - 12 : y + 18) + "px";
  }

  function hideTip() {
    tip.hidden = true;
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // The chart of accuracy against density: points to look at, arms to switch, and a part to enlarge.
  class Chart {
    constructor(svg) {
      this.svg = svg;
      [this.left, this.top, this.right, this.bottom] = numbers(svg.dataset.box);
      this.whole = { x: numbers(svg.dataset.x), y: numbers(svg.dataset.y) };
      this.view = this.whole;
      this.lines = [...svg.querySelectorAll(".plot .line")].map((group) => ({
        group,
        name: group.dataset.name,
        density: numbers(group.dataset.density),
        mean: numbers(group.dataset.mean),
        low: numbers(group.dataset.low),
        high: numbers(group.dataset.high),
        points: [...group.querySelectorAll(".point")],
      }));
      this.lines.forEach((line) => {
        line.texts = line.points.map((point) => {
          const title = point.querySelector("title");
          const text = title.textContent;
          title.remove(); // the page's own tip says it, without delay
          return text;
        });
      });
      this.at = null;
      svg.addEventListener("pointermove", (event) => this.move(event));
      svg.addEventListener("pointerleave", () => this.leave());
      svg.addEventListener("pointerdown", (event) => this.press(event));
      svg.addEventListener("pointerup", (event) => this.release(event));
      svg.addEventListener("pointercancel", () => this.drop());
      svg.addEventListener("dblclick", () => this.zoom(this.whole));
      svg.addEventListener("keydown", (event) => this.key(event));
      svg.addEventListener("blur", () => this.leave());
    }

    x(density) {
      const [most, least] = this.view.x;
      return this.left + ((this.right - this.left) * Math.log(most / density)) / Math.log(most / least);
    }

    y(value) {
      const [low, high] = this.view.y;
      return this.bottom - ((this.bottom - this.top) * (value - low)) / (high - low);
    }

    densityAt(x) {
      const [most, least] = this.view.x;
      return most * Math.pow(least / most, (x - this.left) / (this.right - this.left));
    }

    valueAt(y) {
      const [low, high] = this.view.y;
      return low + ((high - low) * (this.bottom - y)) / (this.bottom - this.top);
    }

    place(event) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
      return { x: point.x, y: point.y };
    }

    inside(density, value) {
      const [x, y] = [this.x(density), this.y(value)];
      return x >= this.left - 5 && x <= this.right + 5 && y >= this.top - 5 && y <= this.bottom + 5;
    }

    nearest(at, reach) {
      let best = null;
      this.lines.forEach((line, number) => {
        if (line.group.classList.contains("off")) return;
        line.mean.forEach((value, index) => {
          if (!this.inside(line.density[index], value)) return;
          const distance = Math.hypot(this.x(line.density[index]) - at.x, this.y(value) - at.y);
          if (distance <= reach && (!best || distance < best.distance)) best = { number, index, distance };
        });
      });
      return best;
    }

    show(at) {
      this.mark(at);
      if (!at) return hideTip();
      const line = this.lines[at.number];
      const box = line.points[at.index].getBoundingClientRect();
      showTip(line.texts[at.index], box.right, box.top + box.height / 2);
    }

    mark(at) {
      each(this.svg, ".here", (point) => point.classList.remove("here"));
      this.lines.forEach((line, number) => line.group.classList.toggle("faint", Boolean(at) && number !== at.number));
      if (at) this.lines[at.number].points[at.index].classList.add("here");
      this.at = at;
    }

    leave() {
      if (this.start) return;
      this.mark(null);
      hideTip();
    }

    move(event) {
      const at = this.place(event);
      if (!this.start) return this.show(this.nearest(at, 40));
      this.mark(null);
      hideTip();
      const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
      const [x0, x1] = [this.start.x, at.x].map((x) => clamp(x, this.left, this.right)).sort((a, b) => a - b);
      const [y0, y1] = [this.start.y, at.y].map((y) => clamp(y, this.top, this.bottom)).sort((a, b) => a - b);
      this.chosen = { x0, x1, y0, y1 };
      if (!this.frame) {
        this.frame = document.createElementNS(SVG, "rect");
        this.frame.setAttribute("class", "selection");
        this.svg.append(this.frame);
      }
      Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 }).forEach(([k, v]) => this.frame.setAttribute(k, v));
    }

    press(event) {
      if (event.pointerType === "touch") return this.show(this.nearest(this.place(event), 60));
      if (event.button !== 0) return;
      this.start = this.place(event);
      this.svg.setPointerCapture(event.pointerId);
    }

    release() {
      const chosen = this.chosen;
      this.drop();
      if (!chosen || chosen.x1 - chosen.x0 < 8 || chosen.y1 - chosen.y0 < 8) return;
      this.zoom({
        x: [this.densityAt(chosen.x0), this.densityAt(chosen.x1)],
        y: [this.valueAt(chosen.y1), this.valueAt(chosen.y0)],
      });
    }

    drop() {
      this.start = this.chosen = null;
      if (this.frame) this.frame.remove();
      this.frame = null;
    }

    key(event) {
      const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (event.key in steps) this.step(...steps[event.key]);
      else if (event.key === "+" || event.key === "=") this.scale(0.6);
      else if (event.key === "-") this.scale(1 / 0.6);
      else if (event.key === "Escape" || event.key === "0") this.zoom(this.whole);
      else return;
      event.preventDefault();
    }

    step(lines, points) {
      const shown = this.lines.map((_, number) => number).filter((n) => !this.lines[n].group.classList.contains("off"));
      if (!shown.length) return;
      if (!this.at) return this.show({ number: shown[0], index: 0 });
      const place = shown.indexOf(this.at.number);
      const number = shown[(place + lines + shown.length) % shown.length];
      const last = this.lines[number].mean.length - 1;
      this.show({ number, index: Math.max(0, Math.min(last, this.at.index + points)) });
    }

    scale(by) {
      const middle = this.at
        ? { x: this.lines[this.at.number].density[this.at.index], y: this.lines[this.at.number].mean[this.at.index] }
        : { x: Math.sqrt(this.view.x[0] * this.view.x[1]), y: (this.view.y[0] + this.view.y[1]) / 2 };
      const x = this.view.x.map((end) => middle.x * Math.pow(end / middle.x, by));
      const y = this.view.y.map((end) => middle.y + (end - middle.y) * by);
      this.zoom({
        x: [Math.min(x[0], this.whole.x[0]), Math.max(x[1], this.whole.x[1])],
        y: [Math.max(y[0], this.whole.y[0]), Math.min(y[1], this.whole.y[1])],
      });
      if (this.at) this.show(this.at);
    }

    zoom(view) {
      this.view = view;
      this.draw();
      const whole = view === this.whole || JSON.stringify(view) === JSON.stringify(this.whole);
      this.svg.closest("[data-chart]").querySelector("[data-reset]").hidden = whole;
    }

    draw() {
      const path = (xs, ys) => "M" + xs.map((x, i) => this.x(x).toFixed(1) + " " + this.y(ys[i]).toFixed(1)).join("L");
      this.lines.forEach((line) => {
        line.group.querySelector(".mean").setAttribute("d", path(line.density, line.mean));
        const band = line.group.querySelector(".band");
        const back = [...line.density].reverse();
        if (band) band.setAttribute("d", path([...line.density, ...back], [...line.high, ...[...line.low].reverse()]) + "Z");
        line.points.forEach((point, i) => {
          const [x, y] = [this.x(line.density[i]).toFixed(1), this.y(line.mean[i]).toFixed(1)];
          point.setAttribute("transform", "translate(" + x + " " + y + ")");
        });
      });
      const reference = this.svg.querySelector(".reference");
      if (reference) reference.setAttribute("d", "M" + this.left + " " + this.y(+reference.dataset.value) + "H" + this.right);
      each(this.svg, ".densities [data-density]", (tick) => {
        const x = this.x(+tick.dataset.density);
        tick.classList.toggle("off", x < this.left - 1 || x > this.right + 1);
        if (tick.tagName === "text") tick.setAttribute("x", x.toFixed(1));
        else tick.setAttribute("d", "M" + x.toFixed(1) + " " + this.bottom + "v4");
      });
      this.drawGrid();
    }

    drawGrid() {
      const [low, high] = this.view.y;
      const power = Math.pow(10, Math.floor(Math.log10((high - low) / 7)));
      const step = [1, 2, 5, 10, 20].map((by) => by * power).find((by) => (high - low) / by <= 6);
      const grid = this.svg.querySelector(".grid");
      grid.replaceChildren();
      for (let n = Math.ceil(low / step); n * step <= high; n += 1) {
        const y = this.y(n * step);
        const line = document.createElementNS(SVG, "path");
        line.setAttribute("d", "M" + this.left + " " + y.toFixed(1) + "H" + this.right);
        line.setAttribute("stroke", "var(--grid, #e6e6e6)");
        const text = document.createElementNS(SVG, "text");
        text.setAttribute("x", this.left - 8);
        text.setAttribute("y", (y + 4).toFixed(1));
        text.setAttribute("text-anchor", "end");
        text.textContent = String(+(n * step).toPrecision(6));
        grid.append(line, text);
      }
    }
  }

  each(document, "[data-chart]", (figure) => {
    const charts = [...figure.querySelectorAll(":scope > svg")].map((svg) => new Chart(svg));
    const switches = [...figure.querySelectorAll("button[data-line]")];
    const set = (button, on) => {
      button.setAttribute("aria-pressed", String(on));
      each(figure, 'svg [data-line="' + button.dataset.line + '"]', (group) => group.classList.toggle("off", !on));
    };
    switches.forEach((button) => {
      button.addEventListener("click", () => set(button, button.getAttribute("aria-pressed") !== "true"));
      button.addEventListener("dblclick", () => switches.forEach((other) => set(other, other === button)));
    });
    figure.querySelector("[data-all]").addEventListener("click", () => switches.forEach((button) => set(button, true)));
    figure.querySelector("[data-reset]").addEventListener("click", () => charts.forEach((chart) => chart.zoom(chart.whole)));
  });

  // A figure as a file of its own: always in the colours of print, with the legend that the page has outside of it.
  function standalone(svg) {
    const copy = svg.cloneNode(true);
    each(copy, ".off", (gone) => gone.remove());
    each(copy, ".selection", (gone) => gone.remove());
    each(copy, ".faint, .here", (marked) => marked.classList.remove("faint", "here"));
    const box = numbers(copy.getAttribute("viewBox"));
    if (copy.dataset.legend) {
      [...copy.querySelectorAll(".below > g")].forEach((line, place) => {
        const [x] = /-?[\d.]+/.exec(line.getAttribute("transform"));
        line.setAttribute("transform", "translate(" + x + " " + (box[3] + place * 20 + 10) + ")");
      });
      box[3] += Number(copy.dataset.legend);
    }
    copy.setAttribute("viewBox", box.join(" "));
    copy.setAttribute("width", box[2]);
    copy.setAttribute("height", box[3]);
    copy.setAttribute("font-family", "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif");
    const text = new XMLSerializer().serializeToString(copy).replace(/var\(--[\w-]+, ?(#[0-9a-f]{6})\)/g, "$1");
    return { text, width: box[2], height: box[3] };
  }

  function savePng(file, name) {
    const image = new Image();
    const address = URL.createObjectURL(new Blob([file.text], { type: "image/svg+xml" }));
    image.onload = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [file.width * 3, file.height * 3];
      const context = canvas.getContext("2d");
      context.fillStyle = "#ffffff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(address);
      canvas.toBlob((blob) => save(blob, name), "image/png");
    };
    image.src = address;
  }

  each(document, "[data-save]", (button) => {
    button.addEventListener("click", () => {
      const figure = button.closest("figure");
      const svgs = [...figure.querySelectorAll(":scope > svg, :scope > .scroll > svg")];
      const file = standalone(svgs.find((svg) => svg.getClientRects().length) || svgs[0]);
      const name = button.dataset.name + "." + button.dataset.save;
      if (button.dataset.save === "png") savePng(file, name);
      else save(new Blob([file.text], { type: "image/svg+xml" }), name);
    });
  });

  each(document, "[data-unpack]", (button) => {
    if (typeof DecompressionStream === "undefined") {
      button.hidden = true;
      return;
    }
    button.addEventListener("click", async () => {
      const packed = button.parentElement.querySelector("[data-packed]").href;
      const bytes = Uint8Array.from(atob(packed.slice(packed.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      save(new Blob([await new Response(stream).blob()], { type: "text/csv" }), button.dataset.unpack);
    });
  });

  each(document, "[data-copy]", (button) => {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  });

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  addEventListener("scroll", hideTip, { passive: true });
  // On paper nothing can be opened; the list of addresses alone is too long for it.
  addEventListener("beforeprint", () => each(document, "details", (closed) => (closed.open ||= !closed.querySelector(".tall"))));
})();
