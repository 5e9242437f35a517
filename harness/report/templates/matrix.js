// SPDX-License-Identifier: GPL-2.0-or-later
(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("js");

  var SYMBOLS = {p: "✓", f: "✗", a: "!", i: "?", n: "–", k: "≈", u: "±", e: "⚡", s: "~", o: "○", x: ""};
  var WORST_FIRST = "efuiakpsnox", NOT_PASS = "efuiak";
  var FIELDS = ["q", "rfc", "level", "show"];

  function id(name) { return document.getElementById(name); }
  function all(where, selector) { return Array.prototype.slice.call(where.querySelectorAll(selector)); }
  function make(tag, attributes, content) {
    var element = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    (content || []).forEach(function (child) { element.append(child); });
    return element;
  }

  var table = id("matrix"), box = id("box"), boxes = all(id("tools"), "input[name=target]");
  var slugs = boxes.map(function (one) { return one.value; });
  var labels = boxes.map(function (one) { return one.parentNode.textContent.trim(); });
  var rows = all(table, "tr.r").map(function (row, number) {
    var cells = all(row, "td");
    return {
      number: number, row: row, head: row.cells[0], cells: cells, group: row.parentNode.dataset.g,
      level: levelOf(row.cells[0]), covered: !cells[0].classList.contains("x") || cells.length > 1,
      letters: cells.map(function (cell) { return cell.className; }), text: row.cells[0].textContent.toLowerCase(),
    };
  });
  var names = {}, words = {};
  rows.forEach(function (row) { names[row.head.firstElementChild.textContent] = row; });
  all(id("show"), "option").forEach(function (option) { words[option.value] = option.textContent; });
  var letters = {};
  all(document, ".legend .badge").forEach(function (badge) {
    letters[badge.classList[1]] = badge.textContent.replace(/^\S+ /, "").trim();
  });
  var byState = {};
  Object.keys(letters).forEach(function (letter) { byState[letters[letter].replace(/ /g, "-")] = letter; });

  // MUST for MUST NOT too.
  function levelOf(head) {
    var marks = all(head, "b"), mark = marks[marks.length - 1];
    return (mark ? mark.textContent : "").split(" ")[0];
  }

  // -- what is behind the cells --------------------------------------------------------------------------------------

  var data = null;

  function unpack() {
    var packed = atob(id("data").textContent), octets = new Uint8Array(packed.length);
    for (var at = 0; at < packed.length; at += 1) { octets[at] = packed.charCodeAt(at); }
    var stream = new Blob([octets]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Response(stream).text().then(JSON.parse);
  }

  function index() {
    var about = rows.map(function () { return []; });
    data.cases.forEach(function (entry, number) {
      entry[4].forEach(function (rule) { about[rule].push(number); });
      entry[4].forEach(function (rule) { rows[rule].text += " " + data.texts[entry[0]].toLowerCase(); });
    });
    data.about = about.map(function (numbers) { return new Set(numbers); });
    data.targets.forEach(function (target) {
      Object.keys(target.details).forEach(function (number) {
        var detail = target.details[number];
        detail.s.forEach(function (pair) {
          data.about[pair[0]].add(Number(number));
          rows[pair[0]].text += " " + data.texts[detail.r].toLowerCase();
        });
      });
    });
  }

  // The cases of a cell, worst first: what each says about the rule, and its number.
  function casesOf(rule, target) {
    var found = [];
    data.about[rule].forEach(function (number) {
      var letter = target.verdicts[number], detail = target.details[number], own = null;
      if (letter === "o") { return; }
      if (detail) {
        detail.s.forEach(function (pair) { own = pair[0] === rule ? pair[1] : own; });
        if (own === null) { return; }
        letter = own;
      } else if (data.cases[number][4].indexOf(rule) < 0) { return; }
      found.push({letter: letter, number: number});
    });
    return found.sort(function (one, other) {
      return WORST_FIRST.indexOf(one.letter) - WORST_FIRST.indexOf(other.letter) || one.number - other.number;
    });
  }

  function badge(letter) {
    return make("span", {"class": "badge " + letter}, [(SYMBOLS[letter] + " " + letters[letter]).trim()]);
  }

  // -- a panel -------------------------------------------------------------------------------------------------------

  function panelOf(row, column) {
    var target = data.targets[column], panel = make("div", {"class": "panel"}), close;
    var found = casesOf(row.number, target), level = all(row.head, "b").pop();
    close = make("button", {type: "button", "class": "close"}, ["Close"]);
    close.addEventListener("click", function () { go({open: ""}); row.cells[column].focus(); });
    panel.append(close, make("h3", {}, [row.head.firstElementChild.textContent + " on " + target.label]));
    panel.append(make("p", {}, [make("b", {}, [level ? level.textContent : ""]), " ",
      row.head.querySelector("p").textContent]));
    if (!found.length) { panel.append(idle(row, target)); }
    groupsOf(found, target).forEach(function (group, place) {
      var open = place === 0 && NOT_PASS.indexOf(group[0].letter) >= 0;
      panel.append(group.length > 2 ? groupOf(group, target, open) : "");
      if (group.length <= 2) {
        group.forEach(function (one, at) { panel.append(caseOf(one, target, open && at === 0)); });
      }
    });
    return panel;
  }

  function reasonOf(one, target) {
    var detail = target.details[one.number];
    return detail && data.texts[detail.r] || data.texts[data.cases[one.number][3]];
  }

  // Variants and families of one case that say the same stand together.
  function groupsOf(found, target) {
    var groups = new Map();
    found.forEach(function (one) {
      var key = [one.letter, data.cases[one.number][0], reasonOf(one, target)].join("\n");
      if (!groups.has(key)) { groups.set(key, []); }
      groups.get(key).push(one);
    });
    return Array.from(groups.values());
  }

  function groupOf(group, target, open) {
    var summary = make("summary", {}, [badge(group[0].letter), " ",
      make("span", {"class": "name"}, [data.texts[data.cases[group[0].number][0]]]), " " + group.length + " cases",
      make("span", {"class": "soft"}, [reasonOf(group[0], target)])]);
    var item = make("details", {"class": "group"}, [summary]);
    group.forEach(function (one, at) { item.append(caseOf(one, target, open && at === 0, true)); });
    item.open = open;
    item.addEventListener("toggle", function () { if (item.open) { Ladder.drawIn(item); } });
    return item;
  }

  function idle(row, target) {
    var list = make("ul", {}), seen = new Set();
    function line(name) {
      if (seen.has(name)) { return; }
      seen.add(name);
      var why = target.left[name];
      list.append(make("li", {}, [make("span", {"class": "name"}, [name]), ": " +
        (why === undefined ? "not in this run" : data.texts[why])]));
    }
    data.about[row.number].forEach(function (number) { line(data.texts[data.cases[number][0]]); });
    data.idle.forEach(function (entry) {
      if (entry[1].indexOf(row.number) >= 0) { line(data.texts[entry[0]]); }
    });
    return make("div", {}, [make("p", {}, ["None of its cases ran on this target."]), list]);
  }

  function caseOf(one, target, open, brief) {
    var entry = data.cases[one.number], variant = data.texts[entry[2]];
    var verdict = target.verdicts[one.number];
    var name = make("span", {"class": "name"}, [(brief ? "" : data.texts[entry[0]]) + (variant ? " [" + variant + "]" : "")]);
    var summary = make("summary", {}, brief ? [name, " " + entry[1]] :
      [badge(one.letter), " ", name, " " + entry[1], make("span", {"class": "soft"}, [reasonOf(one, target)])]);
    var item = make("details", {}, [summary]), body = null;
    item.addEventListener("toggle", function () {
      if (item.open && !body) {
        body = bodyOf(one, target, verdict);
        item.append(body);
        Ladder.drawIn(body);
      }
    });
    item.open = open;
    return item;
  }

  function bodyOf(one, target, verdict) {
    var entry = data.cases[one.number], detail = target.details[one.number] || {};
    var body = make("div", {"class": "body"}, [make("p", {}, [data.texts[entry[3]]])]);
    if (one.letter !== verdict) {
      body.append(make("p", {"class": "soft"}, ["The case as a whole: ", badge(verdict)]));
    }
    (detail.f || []).forEach(function (finding) {
      var title = finding[2] === "p" ? "Fingerprint: not as the profile pins it, no rule is broken" :
        data.texts[finding[0]] + " " + data.texts[finding[1]];
      body.append(make("h4", {}, [title]), make("pre", {}, [data.texts[finding[3]]]));
      var notes = [finding[2] === "o" ? "seen by the oracle, which watches every segment" : "",
        data.texts[finding[4]] ? "target in " + data.texts[finding[4]] : "", data.texts[finding[5]]];
      notes = notes.filter(Boolean).join("; ");
      if (notes) { body.append(make("p", {"class": "soft"}, [notes])); }
      if (finding[6] >= 0) { body.append(make("p", {}, [badge("k"), " " + data.texts[finding[6]]])); }
    });
    if (detail.x !== undefined) {
      body.append(make("h4", {}, ["Exchange"]));
      body.append(detail.x ? Ladder.of(detail.x, data.texts) :
        make("p", {"class": "soft"}, ["It stayed away to keep this page small; the capture has it."]));
    }
    if (detail.t !== undefined) { body.append(make("h4", {}, ["Timing"]), make("pre", {}, [data.texts[detail.t]])); }
    if (detail.l !== undefined) { body.append(make("h4", {}, ["Log"]), make("pre", {}, [data.texts[detail.l]])); }
    body.append(make("h4", {}, ["Evidence"]), evidence(one.number, target, detail));
    repeat(body, one.number, target);
    return body;
  }

  function evidence(number, target, detail) {
    var line = make("p", {"class": "soft"}), letter = target.captures[number];
    var tail = target.tails[number] < 0 ? "" : data.texts[target.tails[number]];
    if (detail.n) { line.append(detail.n[0] + " segments" + (detail.n[1] ? ", state proven by " + detail.n[1] : "") + ", "); }
    if (letter === "l") {
      line.append("capture ", make("a", {href: target.root + "/" + tail.split("/").map(encodeURIComponent).join("/")},
        [tail]));
    } else if (letter === "n") {
      line.append("capture ", make("code", {}, [target.root + "/" + tail]));
    } else if (letter === "m") {
      line.append("the capture " + tail + " was not beside the results");
    } else {
      line.append("no capture");
    }
    return line;
  }

  function repeat(body, number, target) {
    var entry = data.cases[number], variant = data.texts[entry[2]];
    var text = data.texts[target.commands[number]].replace("\u0000n", function () {
      return data.texts[entry[0]] + (variant ? "[" + variant + "]" : "");
    }).replace("\u0000f", function () { return entry[1]; });
    if (!text) { return; }
    var pre = make("pre", {}, [text]), button = make("button", {type: "button"}, ["Copy"]);
    button.addEventListener("click", function () {
      function done(word) {
        button.textContent = word;
        setTimeout(function () { button.textContent = "Copy"; }, 1500);
      }
      function select() { getSelection().selectAllChildren(pre); done("Selected"); }
      if (!navigator.clipboard) { select(); return; }
      navigator.clipboard.writeText(text).then(function () { done("Copied"); }, select);
    });
    body.append(make("h4", {}, ["Repeat"]), make("div", {"class": "command"}, [pre, button]));
  }

  // -- where we are: the fragment of the URL -------------------------------------------------------------------------

  function read() {
    var at = new URLSearchParams(location.hash.slice(1)), state = {open: at.get("open") || ""};
    FIELDS.forEach(function (name) { state[name] = at.get(name) || ""; });
    var chosen = (at.get("targets") || "").split(",").filter(function (slug) { return slugs.indexOf(slug) >= 0; });
    state.targets = chosen.length ? chosen : slugs;
    return state;
  }

  function write(state) {
    var at = new URLSearchParams();
    FIELDS.concat("open").forEach(function (name) { if (state[name]) { at.set(name, state[name]); } });
    if (state.targets.length < slugs.length) { at.set("targets", state.targets.join(",")); }
    return "#" + at.toString().replace(/%40/g, "@").replace(/%2C/g, ",").replace(/%3A/g, ":");
  }

  var current = null;

  // Replaces what the user would not want to go back to one by one; opening a cell is a step.
  function go(change) {
    var next = write(Object.assign(read(), change));
    if (change.open) { location.hash = next; } else { location.replace(next); }
    show();
  }

  function fits(row, state, columns, needles) {
    if (state.rfc && row.group !== state.rfc || state.level && row.level !== state.level) { return false; }
    if (!needles.every(function (needle) { return row.text.indexOf(needle) >= 0; })) { return false; }
    if (!state.show) { return true; }
    if (state.show === "no-case") { return !row.covered; }
    if (!row.covered) { return false; }
    var seen = columns.map(function (column) { return row.letters[column]; });
    if (state.show === "trouble") { return seen.some(function (letter) { return NOT_PASS.indexOf(letter) >= 0; }); }
    if (state.show === "differs") { return seen.some(function (letter) { return letter !== seen[0]; }); }
    return seen.indexOf(byState[state.show]) >= 0;
  }

  function show() {
    var state = read(), key = JSON.stringify(state);
    if (key === current) { return; }
    current = key;
    FIELDS.forEach(function (name) { if (id(name).value !== state[name]) { id(name).value = state[name]; } });
    boxes.forEach(function (one) { one.checked = state.targets.indexOf(one.value) >= 0; });
    id("picked").textContent = state.targets.length === slugs.length ? "every target" :
      state.targets.length + " of " + slugs.length + " targets";
    var columns = slugs.map(function (slug, at) { return at; }).filter(function (at) {
      return state.targets.indexOf(slugs[at]) >= 0;
    });
    hide(columns);
    filter(state, columns);
    reveal(state.open);
  }

  function hide(columns) {
    var heads = table.tHead.rows[0].cells;
    slugs.forEach(function (slug, at) {
      var gone = columns.indexOf(at) < 0;
      if (heads[at + 1].hidden === gone) { return; }
      heads[at + 1].hidden = gone;
      rows.forEach(function (row) { if (row.covered) { row.cells[at].hidden = gone; } });
    });
  }

  function filter(state, columns) {
    var needles = state.q.toLowerCase().split(/\s+/).filter(Boolean), count = 0, seen = new Set();
    rows.forEach(function (row) {
      var fit = fits(row, state, columns, needles);
      row.row.hidden = !fit;
      count += fit ? 1 : 0;
      if (fit) { seen.add(row.group); }
    });
    all(table, "tbody").forEach(function (group) { group.hidden = !seen.has(group.dataset.g); });
    id("shown").textContent = count + " of " + rows.length + " requirements";
    id("none").hidden = count > 0;
    reachable(columns);
    var active = FIELDS.filter(function (name) { return state[name]; }).map(function (name) {
      return name === "show" ? words[state.show] : state[name];
    });
    if (columns.length < slugs.length) { active.push(columns.map(function (at) { return labels[at]; }).join(", ")); }
    id("filter").textContent = active.length ? "Shown: " + count + " of " + rows.length + " requirements, filter: " +
      active.join("; ") : "";
  }

  // Of the whole grid one cell takes the Tab key; it has to be one that can be seen.
  function reachable(columns) {
    var home = table.querySelector("td[tabindex='0']"), row;
    if (home && !home.hidden && !home.parentNode.hidden) { return; }
    if (home) { home.tabIndex = -1; }
    row = rows.find(function (one) { return one.covered && !one.row.hidden; });
    if (row) { row.cells[columns[0]].tabIndex = 0; }
  }

  function reveal(open) {
    all(table, "tr.opened").forEach(function (row) { row.remove(); });
    all(table, "td[aria-expanded=true]").forEach(function (cell) { cell.setAttribute("aria-expanded", "false"); });
    var at = open.lastIndexOf("@"), row = names[open.slice(0, at)], column = slugs.indexOf(open.slice(at + 1));
    if (!open || !row || column < 0 || !data || !row.covered) { return; }
    var cell = make("td", {"class": "open", colspan: slugs.length + 1}), panel = panelOf(row, column);
    cell.append(panel);
    row.row.hidden = row.row.parentNode.hidden = false;
    row.row.after(make("tr", {"class": "opened"}, [cell]));
    row.cells[column].setAttribute("aria-expanded", "true");
    size();
    if (arriving) { row.row.scrollIntoView({block: "center"}); }
    arriving = false;
  }

  var arriving = true;

  function size() {
    all(table, ".panel").forEach(function (panel) {
      panel.style.width = box.clientWidth + "px";
      Ladder.drawIn(panel);
    });
  }

  // -- hands ---------------------------------------------------------------------------------------------------------

  function openable(element) {
    var cell = element.closest && element.closest("td");
    return cell && cell.parentNode.classList.contains("r") && !cell.classList.contains("x") ? cell : null;
  }

  function toggle(cell) {
    var row = cell.parentNode, name = row.cells[0].firstElementChild.textContent;
    var wanted = name + "@" + slugs[cell.cellIndex - 1];
    go({open: read().open === wanted ? "" : wanted});
  }

  function move(cell, key) {
    var row = cell.parentNode, column = cell.cellIndex, shown = all(table, "tr.r").filter(function (one) {
      return !one.hidden && openable(one.cells[1] || one);
    });
    var across = all(row, "td").filter(function (one) { return !one.hidden; }), at = shown.indexOf(row);
    if (key === "ArrowLeft") { return across[across.indexOf(cell) - 1]; }
    if (key === "ArrowRight") { return across[across.indexOf(cell) + 1]; }
    var next = shown[at + (key === "ArrowDown" ? 1 : -1)];
    return next && next.cells[column];
  }

  table.addEventListener("click", function (event) {
    var cell = openable(event.target);
    if (cell && !String(getSelection())) { toggle(cell); }
  });
  table.addEventListener("keydown", function (event) {
    var cell = openable(event.target), next;
    if (event.key === "Escape" && read().open) {
      var open = table.querySelector("td[aria-expanded=true]");
      go({open: ""});
      if (open) { open.focus(); }
    }
    if (!cell || event.target !== cell) { return; }
    if (event.key === "Enter" || event.key === " ") { toggle(cell); event.preventDefault(); }
    if (/^Arrow/.test(event.key)) {
      next = move(cell, event.key);
      if (next) { cell.tabIndex = -1; next.tabIndex = 0; next.focus(); event.preventDefault(); }
    }
  });
  table.setAttribute("role", "grid");
  rows.forEach(function (row) {
    if (!row.covered) { return; }
    row.cells.forEach(function (cell, at) {
      cell.tabIndex = -1;
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-expanded", "false");
      cell.setAttribute("aria-label", row.head.firstElementChild.textContent + " on " + labels[at] + ": " +
        letters[row.letters[at]] + " " + cell.textContent.slice(1));
    });
  });

  FIELDS.forEach(function (name) {
    id(name).addEventListener(name === "q" ? "input" : "change", function () {
      var change = {};
      change[name] = id(name).value;
      go(change);
    });
  });
  boxes.forEach(function (one) {
    one.addEventListener("change", function () {
      go({targets: boxes.filter(function (other) { return other.checked; }).map(function (other) { return other.value; })});
    });
  });
  id("clear").addEventListener("click", function () {
    go({q: "", rfc: "", level: "", show: "", open: "", targets: slugs});
  });
  addEventListener("hashchange", function () { arriving = true; show(); arriving = false; });
  addEventListener("resize", size);
  document.addEventListener("click", function (event) {
    all(document, ".pick[open]").forEach(function (pick) { if (!pick.contains(event.target)) { pick.open = false; } });
  });

  show();
  if (typeof DecompressionStream === "undefined") { id("unpack").hidden = false; return; }
  unpack().then(function (unpacked) {
    data = unpacked;
    index();
    current = null;
    arriving = true;
    show();
    arriving = false;
    root.classList.add("ready");
  }, function (error) {
    id("unpack").hidden = false;
    throw error;
  });
}());
