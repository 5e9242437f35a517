// SPDX-License-Identifier: GPL-2.0-or-later
// Draws an exchange between two ends as an SVG, as wide as where it stands: a line a segment, time downwards.
var Ladder = (function () {
  "use strict";

  var SIDES = ["injector", "target", "api", "note", "gap"];
  var MARKS = ["", "unexpected", "missing", "allowed", "mismatch", "changed"];
  var SVG = "http://www.w3.org/2000/svg", LINE = 15;

  function shape(tag, attributes, text) {
    var element = document.createElementNS(SVG, tag);
    Object.keys(attributes).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text !== undefined) { element.textContent = text; }
    return element;
  }

  // A drawing of steps as they are packed: three numbers each, and the texts that the third one counts in.
  function of(flat, texts) {
    var steps = [];
    for (var at = 0; at < flat.length; at += 3) {
      steps.push({us: flat[at], side: SIDES[flat[at + 1] % 8], mark: MARKS[flat[at + 1] >> 3], text: texts[flat[at + 2]]});
    }
    var svg = shape("svg", {"class": "ladder", role: "figure", "aria-label": "Exchange of " + steps.length + " steps"});
    svg.steps = steps;
    return svg;
  }

  function charWidth() {
    var probe = document.createElement("span");
    probe.className = "measure";
    probe.textContent = "0".repeat(100);
    document.body.append(probe);
    var width = probe.getBoundingClientRect().width / 100;
    probe.remove();
    return width || 7.3;
  }

  // Breaks a segment before its options, behind their commas, then at spaces; a long word is cut.
  function wrap(text, columns) {
    var pieces = [], lines = [], line = "";
    if (text.length <= columns) { return [text]; }
    text.split(/(<[^>]*>)/).forEach(function (part) {
      if (part[0] === "<" && part.length > columns) {
        part.match(/[^,]+,?/g).forEach(function (option) {
          pieces = pieces.concat(option.length > columns ? option.match(/\s*\S+\s*/g) : [option]);
        });
      }
      else if (part[0] === "<") { pieces.push(part); }
      else { pieces = pieces.concat(part.match(/\s*\S+\s*/g) || []); }
    });
    pieces.forEach(function (piece) {
      if (line.trim() && (line + piece).trimEnd().length > columns) { lines.push(line.trimEnd()); line = ""; }
      if (!line) { piece = piece.trimStart(); }
      while ((line + piece).trimEnd().length > columns) {
        lines.push((line + piece).slice(0, columns));
        piece = (line + piece).slice(columns);
        line = "";
      }
      line += piece;
    });
    if (line.trim()) { lines.push(line.trimEnd()); }
    return lines;
  }

  function draw(svg) {
    var width = Math.max(280, svg.parentNode.clientWidth - 28), unit = charWidth();
    var longest = Math.max.apply(null, svg.steps.map(function (step) { return Math.abs(step.us); }));
    var seconds = longest >= 1e8, times = svg.steps.map(function (step) {
      return seconds ? (step.us / 1e6).toFixed(6) : (step.us / 1e3).toFixed(3);
    });
    var margin = Math.max(7, Math.max.apply(null, times.map(function (time) { return time.length; }))) * unit + 18;
    var left = margin, right = Math.min(width - 14, left + 110 * unit), columns = Math.floor((right - left - 24) / unit);
    var y = 42;
    svg.replaceChildren();
    svg.append(shape("text", {x: margin - 10, y: 20, "text-anchor": "end", "class": "dim"}, seconds ? "s" : "ms"));
    svg.append(shape("text", {x: left, y: 20}, "injector"));
    svg.append(shape("text", {x: right, y: 20, "text-anchor": "end"}, "target"));
    var lives = [left, right].map(function (x) {
      var line = shape("line", {x1: x, x2: x, y1: 26, y2: 26, "class": "life"});
      svg.append(line);
      return line;
    });
    svg.steps.forEach(function (step, number) { y = drawStep(svg, step, times[number], y, left, right, columns); });
    lives.forEach(function (line) { line.setAttribute("y2", y - 4); });
    svg.setAttribute("viewBox", "0 0 " + width + " " + (y + 6));
    svg.setAttribute("width", width);
    svg.setAttribute("height", y + 6);
    svg.style.maxWidth = width + "px";
  }

  function drawStep(svg, step, time, y, left, right, columns) {
    var segment = step.side === "injector" || step.side === "target", bad = step.mark && step.mark !== "allowed";
    var text = (step.side === "note" ? "# " : step.side === "gap" ? ": " : "") + step.text, lines = wrap(text, columns);
    var kind = bad ? "bad" : segment || step.side === "api" ? "" : "dim", end = step.side === "target" || step.side === "api";
    if (step.side !== "gap") {
      svg.append(shape("text", {x: left - 10, y: y, "text-anchor": "end", "class": "dim"}, time));
    }
    lines.forEach(function (line, row) {
      svg.append(shape("text", {x: end ? right - 12 : left + 12, y: y + row * LINE, "text-anchor": end ? "end" : "start",
        "class": kind}, line));
    });
    y += (lines.length - 1) * LINE;
    if (step.side === "api") {
      svg.append(shape("path", {d: "M" + (right - 4) + " " + (y - 4) + "a4 4 0 1 0 8 0a4 4 0 1 0 -8 0"}));
    }
    if (segment) {
      y += 6;
      var line = shape("line", {x1: left, x2: right, y1: y, y2: y, "class": bad ? "badline" : ""});
      if (step.mark === "missing") { line.setAttribute("stroke-dasharray", "3 5"); }
      svg.append(line, shape("path", {d: step.side === "injector" ?
        "M" + right + " " + y + "l-9 -4v8z" : "M" + left + " " + y + "l9 -4v8z"}));
    }
    if (step.mark) {
      y += LINE;
      svg.append(shape("text", {x: end ? right - 12 : left + 12, y: y - 1, "text-anchor": end ? "end" : "start",
        "class": bad ? "bad" : "dim"}, "↑ " + step.mark));
    }
    return y + LINE + 4;
  }

  // What is folded up has no width yet; it is drawn when it is unfolded.
  function drawIn(where) {
    where.querySelectorAll("svg.ladder").forEach(function (svg) { if (svg.parentNode.clientWidth) { draw(svg); } });
  }

  return {of: of, drawIn: drawIn};
}());
