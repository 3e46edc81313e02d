// The panel of a report: draws the mean field and the mean action at a chosen noise path, time and state.
// Names in the data may hold anything, so they are written as text only. The address may choose a view:
// report.html#path=1&level=0&time=5&point=3 (but for the time, these are places in the lists of the data, from 0).
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("panel-data").textContent);
  const panel = document.getElementById("panel");
  const part = (name) => document.getElementById("panel-" + name);
  const controls = { path: part("path"), level: part("level"), time: part("time"), point: part("point") };
  const box = { left: 88, right: 12, top: 18, bottom: 58, width: 720, height: 250 };
  const inner = { width: box.width - box.left - box.right, height: box.height - box.top - box.bottom };

  // Axes: from a coordinate to a place in the drawing.
  const spread = (x) => (data.shift === null ? x : Math.log(x + data.shift));
  const scale = (low, high, start, length) => (x) => start + ((x - low) / (high - low || 1)) * length;
  const places = data.points.map(spread);
  const toX = scale(Math.min(...places), Math.max(...places), box.left, inner.width);
  const xs = places.map(toX);

  function range(arrays, withZero) {
    let low = withZero ? 0 : Infinity, high = withZero ? 0 : -Infinity;
    for (const byTime of arrays) for (const line of byTime) for (const value of line) {
      if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
    }
    if (!isFinite(low)) return [0, 1];
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }
  const number = (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(4))));
  const called = (point) => (data.names ? data.names[point] : number(data.points[point]));

  // Elements.
  function element(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function option(select, label, value) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = label;
    select.appendChild(made);
  }

  function frame(svg, toY, low, high) {
    const bottom = box.top + inner.height;
    for (let i = 0; i <= 4; i++) {
      const value = low + ((high - low) * i) / 4, y = toY(value);
      svg.appendChild(element("line", { x1: box.left, x2: box.width - box.right, y1: y, y2: y, class: "grid" }));
      svg.appendChild(element("text", { x: box.left - 6, y: y, dy: "0.35em", "text-anchor": "end" }, number(Number(value.toPrecision(2)))));
    }
    const ticks = 6, last = data.points.length - 1, shown = new Set();
    for (let i = 0; i <= ticks; i++) shown.add(closest(xs, box.left + (inner.width * i) / ticks));
    for (const place of shown) {
      const anchor = place === last ? "end" : place === 0 ? "start" : "middle";
      const label = data.names ? data.names[place] : number(Number(data.points[place].toPrecision(3)));
      svg.appendChild(element("text", { x: xs[place], y: bottom, dy: "1.2em", "text-anchor": anchor }, label));
    }
    svg.appendChild(element("text", { x: box.left + inner.width / 2, y: bottom, dy: "2.4em", "text-anchor": "middle" }, data.axis));
  }

  function closest(values, wanted) {
    let best = 0;
    values.forEach((value, i) => { if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i; });
    return best;
  }

  function draw(svg, line, limits, point, filled, name) {
    const [low, high] = limits, bottom = box.top + inner.height;
    const toY = scale(low, high, bottom, -inner.height);
    svg.replaceChildren();
    frame(svg, toY, low, high);
    let path = "", pen = "M";
    line.forEach((value, i) => {
      if (value === null) { pen = "M"; return; }
      path += pen + xs[i].toFixed(1) + " " + toY(value).toFixed(1);
      pen = "L";
    });
    if (filled && path) {
      const area = path + "L" + xs[xs.length - 1].toFixed(1) + " " + bottom + "L" + xs[0].toFixed(1) + " " + bottom + "Z";
      svg.appendChild(element("path", { d: area, class: "area" }));
    }
    svg.appendChild(element("path", { d: path, class: "line" }));
    svg.appendChild(element("line", { x1: xs[point], x2: xs[point], y1: box.top, y2: bottom, class: "marker" }));
    const here = line[point];
    if (here !== null && here !== undefined) {
      svg.appendChild(element("circle", { cx: xs[point], cy: toY(here), r: 5, class: "dot" }));
    }
    svg.setAttribute("aria-label", name);
  }

  // What is chosen.
  const limits = {};  // by level: the same axes for all times and paths, so that they can be compared
  function limitsOf(level) {
    if (!(level in limits)) {
      limits[level] = [range(data.mass.map((path) => path[level]), true), range(data.action.map((path) => path[level]), false)];
    }
    return limits[level];
  }

  function show() {
    const path = Number(controls.path.value), level = Number(controls.level.value);
    const place = Number(controls.time.value), point = Number(controls.point.value), time = data.times[place];
    const mass = data.mass[path][level][place], action = data.action[path][level][place] || [];
    const [massLimits, actionLimits] = limitsOf(level);
    const where = data.axis + " " + called(point) + (data.levels[level] ? ", " + data.levels[level] : "");
    const acts = action.length ? number(action[point]) : "– (the game is over)";
    const at = data.paths[path] + ", time " + time;
    draw(part("mass"), mass, massLimits, point, true, "Mean field, " + at + ": mass " + number(mass[point]) + " at " + where);
    draw(part("action"), action, actionLimits, point, false, data.action_name + ", " + at + ": " + acts + " at " + where);
    part("values").textContent = at + "; " + where + ": mass " + number(mass[point]) + "; " + data.action_name + ": " + acts;
    controls.time.setAttribute("aria-valuetext", "time " + time);
    controls.point.setAttribute("aria-valuetext", data.axis + " " + called(point));
    const state = { path, level, time, point: data.points[point], mass: mass[point], action: action.length ? action[point] : "" };
    for (const name in state) panel.dataset[name] = state[name];
  }

  function chosen() {  // from the address
    for (const pair of location.hash.slice(1).split("&")) {
      const [name, value] = pair.split("="), control = controls[name];
      if (!Object.prototype.hasOwnProperty.call(controls, name) || !/^\d{1,6}$/.test(value)) continue;
      const last = Number(control.max || control.options.length - 1);
      const place = name === "time" ? closest(data.times, Number(value)) : Number(value);
      control.value = String(Math.min(place, last));
    }
    show();
  }

  data.paths.forEach((label, i) => option(controls.path, label, i));
  data.levels.forEach((label, i) => option(controls.level, label || "all", i));
  part("level-field").hidden = data.levels.length < 2;
  controls.time.max = data.times.length - 1;
  controls.point.max = data.points.length - 1;
  controls.point.value = Math.floor(data.points.length / 2);
  for (const name in controls) controls[name].addEventListener("input", show);
  for (const name of ["mass", "action"]) {
    part(name).addEventListener("pointermove", (event) => {
      const place = part(name).getBoundingClientRect();
      controls.point.value = closest(xs, ((event.clientX - place.left) / place.width) * box.width);
      show();
    });
  }
  window.addEventListener("hashchange", chosen);
  panel.hidden = false;
  chosen();
})();
