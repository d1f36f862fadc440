// The explorer of the report. It reads the data element once and the libraries when the section comes into view.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  // A page that is embedded in another one, as in Snakemake's report, has no files beside it.
  const alone = !/^(file|https?):$/.test(location.protocol);
  if (alone) {
    byId("inside").hidden = false;
    for (const link of document.querySelectorAll("a[href]")) {
      if (!/^(#|https?:)/.test(link.getAttribute("href"))) link.replaceWith(...link.childNodes);
    }
    for (const picture of document.querySelectorAll("figure img[loading=lazy]")) picture.replaceWith(picture.alt);
  }
  const data = JSON.parse(byId("explorer-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const column = (packed) => packed.numbers !== undefined
    ? new Float32Array(bytes(packed.numbers))
    : Array.from(new Uint16Array(bytes(packed.codes)), (code) => packed.values[code]);
  const unpacked = (table) => Object.fromEntries(Object.entries(table).map(([name, one]) => [name, column(one)]));
  const cells = unpacked(data.cells), contrasts = unpacked(data.contrasts), bins = unpacked(data.reliability);
  const DIMENSIONS = { benchmark: "Benchmark", protocol: "Protocol", model: "Model", base_seed: "Pre-training seed",
    data: "Data", recipe: "Recipe", beta: "β", seed: "Seed" };
  // these do not apply to base models, which are "none" in them
  const TUNED = ["data", "recipe", "seed"];
  // ANY does not filter; OVER is the seed of a mean over trainings
  const ANY = "any", OVER = "all", NONE = "none", MEAN = "mean", PLAIN = ["accuracy", "confidence", "gap", "ece"];
  const short = (metric) => data.metrics[metric].split(" (")[0];
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const NOWHERE = new Float32Array(cells.language.length).fill(NaN);

  const contrastsOf = new Map();
  contrasts.cell.forEach((cell, row) => {
    contrastsOf.set(`${cell} ${contrasts.metric[row]} ${contrasts.reference[row]}`, row);
  });
  const binsOf = new Map();
  bins.cell.forEach((cell, row) => binsOf.set(cell, [...(binsOf.get(cell) ?? []), row]));

  const number = (value, sign) => Number.isNaN(value) ? "" : (sign && value > 0 ? "+" : "") + value.toFixed(3);
  const interval = (value, low, high, sign) => number(value, sign)
    + (Number.isNaN(low) ? "" : ` [${number(low, sign)}, ${number(high, sign)}]`);
  // values under another normalisation than the study's own; they have no intervals
  const normalisations = Object.fromEntries(Object.entries(data.normalisations).map(([name, one]) => [name, unpacked(one)]));
  const normalised = () => normalisations[choices.normalise.value];
  const measuredOf = (metric, end = "") => cells[metric + end];
  const valuesOf = (metric, end = "") => normalised() ? (end === "" && normalised()[metric]) || NOWHERE : measuredOf(metric, end);
  const textOf = (values) => (cell, metric) => interval(...["", "_low", "_high"].map((end) => values(metric, end)[cell]), metric === "gap");
  const metricText = textOf(valuesOf), measuredText = textOf(measuredOf);
  const change = (cell, metric, reference) => contrastsOf.get(`${cell} ${metric} ${reference}`);
  const changeText = (row) => row === undefined ? ""
    : interval(contrasts.difference[row], contrasts.low[row], contrasts.high[row], true);
  const floorOf = (cell) => normalised() ? NaN : cells.ece_floor[cell];
  const setting = (beta) => beta === NONE ? "base" : `β = ${beta}`;
  // without tuned checkpoints, models are compared in place of values of β
  const SERIES = data.runs ? "model" : "beta";
  const seriesName = (cell) => data.runs ? cells.model[cell] : setting(cells.beta[cell]);
  // languages of unknown level come last
  const levelPlace = (cell) => (data.levels.indexOf(cells.resource[cell]) + 1) || data.levels.length + 1;
  const languageName = (code) => data.languages[code] ?? code;
  const order = (betas) => [...betas].sort((a, b) => (a === NONE ? -1 : +a) - (b === NONE ? -1 : +b));
  const element = (name, text, attributes = {}) => {
    const made = Object.assign(document.createElement(name), attributes);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // ---- choices ----
  const choices = {};
  const addChoice = (name, label, options, start) => {
    const select = element("select", undefined, { id: `choose-${name}`, name });
    options.forEach(([value, text]) => select.append(element("option", text, { value })));
    select.value = options.some(([value]) => value === start) ? start : options[0][0];
    select.addEventListener("change", () => show());
    const wrapped = element("label", label);
    wrapped.append(select);
    if (options.length > 1) byId("choices").append(wrapped);
    choices[name] = select;
  };
  const firstTuned = cells.data.findIndex((value) => value !== NONE);
  const start = Math.max(firstTuned, 0);
  for (const [name, label] of Object.entries(DIMENSIONS)) {
    let values = [...new Set(cells[name])];
    values = name === "beta" ? order(values) : values.sort();
    if (TUNED.includes(name) && values.length > 1) values = values.filter((value) => value !== NONE);
    const words = (value) => name === "beta" ? setting(value) : value === OVER ? "mean over all" : value;
    const options = values.map((value) => [value, words(value)]);
    if (values.length > 1) options.push([ANY, ANY]);
    const first = ["base_seed", "seed"].includes(name) && values.includes(OVER) ? OVER : cells[name][start];
    addChoice(name, label, options, name === "beta" && values.includes("0") ? "0" : first);
  }
  addChoice("resource", "Resource level", [[ANY, ANY], ...data.levels.map((level) => [level, level])], ANY);
  addChoice("normalise", "Normalisation", [["", "as measured"], ...Object.keys(normalisations).map((name) => [name, name])], "");
  addChoice("metric", "Metric", Object.entries(data.metrics), "gap");
  const references = [...new Set(contrasts.reference)].sort();
  addChoice("reference", "Compare with", [["", "nothing"], ...references
    .map((name) => [name, name === "base" && !data.runs ? "the base model" : name])],
    data.runs ? references.find((name) => name !== cells.model[start]) ?? "" : "base");

  const chosen = (name) => choices[name].value;
  const contrasted = new Set(contrasts.metric);
  // a metric without contrasts is shown as it is
  const referenceOf = (metric) => contrasted.has(metric) && !normalised() ? chosen("reference") : "";
  // the rows of a table that the choices of names admit; each choice is read once, because reading it is slow
  const matchingOf = (rows, count, names) => {
    const limits = names.filter((name) => chosen(name) !== ANY)
      .map((name) => ({ values: rows[name], wanted: chosen(name), tuned: TUNED.includes(name) }));
    const found = [];
    for (let row = 0; row < count; row++) {
      if (limits.every(({ values, wanted, tuned }) => values[row] === wanted || (tuned && values[row] === NONE))) found.push(row);
    }
    return found;
  };
  const matching = (names) => matchingOf(cells, cells.language.length, names);

  // ---- the table ----
  let table;
  const languageButton = (cell) => {
    const button = element("button", undefined, { type: "button", className: "language" });
    button.dataset.cell = cell;
    button.append(element("bdi", languageName(cells.language[cell])));
    if (languageName(cells.language[cell]) !== cells.language[cell]) button.append(` (${cells.language[cell]})`);
    return button;
  };
  const emptyLast = (value) => Number.isNaN(value) ? Infinity : value;
  // a type that is given need not be found out from every row, and a text that can be chosen need not be searched
  const NUMERIC = { data: null, type: "num", searchable: false }, TEXT = { data: null, type: "string" }, CHOSEN = { ...TEXT, searchable: false };
  const valueColumn = (title, metric, name, more = "") => ({
    title, name, className: `number ${more}`, ...NUMERIC,
    render: (cell, type) => type === "sort" ? emptyLast(valuesOf(metric())[cell]) : metricText(cell, metric()),
  });
  const contrastColumn = (title, name, value, text, more = "") => ({
    title, name, className: `number ${more}`, ...NUMERIC, render: (cell, type) => {
      const row = change(cell, chosen("metric"), chosen("reference"));
      if (type === "sort") return row === undefined ? Infinity : value[row];
      return row === undefined ? "" : text(row);
    },
  });
  const columns = [
    { title: "Language", name: "language", ...TEXT, render: (cell, type) => type === "display"
        ? languageButton(cell) : `${languageName(cells.language[cell])} ${cells.language[cell]}` },
    ...Object.entries(DIMENSIONS).map(([name, title]) => ({ title, name, ...(name === "beta" ? NUMERIC : CHOSEN), render: (cell, type) =>
      name === "beta" && type === "sort" ? (cells.beta[cell] === NONE ? -1 : +cells.beta[cell])
        : cells[name][cell] === NONE ? "" : cells[name][cell] })),
    valueColumn("Metric", () => chosen("metric"), "chosen"),
    contrastColumn("Change", "change", contrasts.difference, changeText),
    contrastColumn("q", "q", contrasts.q, (row) => number(contrasts.q[row]), "optional"),
    ...PLAIN.map((metric) => valueColumn(short(metric), () => metric, metric, "optional")),
    { title: "Noise floor", name: "floor", ...NUMERIC, className: "number optional", render: (cell, type) =>
        type === "sort" ? emptyLast(floorOf(cell)) : number(floorOf(cell)) },
    { title: "Questions", name: "n", ...NUMERIC, className: "number optional", render: (cell) => cells.n[cell] },
    { title: "Level", name: "resource", ...NUMERIC, className: "optional", render: (cell, type) => type === "sort"
        ? levelPlace(cell) : cells.resource[cell] },
  ];

  let waiting;
  const show = () => {
    const names = [...Object.keys(DIMENSIONS), "resource"];
    const found = matching(names).filter((cell) => cells.language[cell] !== MEAN);
    const metric = chosen("metric"), reference = referenceOf(metric);
    const visible = (name) => {
      if (name in DIMENSIONS) return chosen(name) === ANY;
      if (name === metric || (name === "resource" && !data.levels.length)) return false;
      if (name === "change" || name === "q") return reference !== "";
      return true;
    };
    table.columns().every(function () {
      const name = columns[this.index()].name;
      if (this.visible() !== visible(name)) this.visible(visible(name), false);
    });
    table.column("chosen:name").title(short(metric));
    table.column("change:name").title(`Δ from ${reference}`);
    table.clear().rows.add(found).draw();
    byId("explorer-status").textContent = status(found, metric, reference);
    showGroups();
    clearTimeout(waiting);
    waiting = setTimeout(() => drawChart(metric, reference, names), 50);
  };

  // ---- subjects ----
  const groups = unpacked(data.groups);
  const groupColumns = () => [
    { title: "Subject", name: "group", ...TEXT, render: (row) => groups.group[row] },
    ...Object.entries(DIMENSIONS).map(([name, title]) => ({ title, name, ...(name === "beta" ? NUMERIC : CHOSEN), render: (row, type) =>
      name === "beta" && type === "sort" ? (groups.beta[row] === NONE ? -1 : +groups.beta[row])
        : groups[name][row] === NONE ? "" : groups[name][row] })),
    ...["accuracy", "gap", "ece"].map((metric) => ({ title: short(metric), name: metric, className: "number", ...NUMERIC,
      render: (row, type) => type === "sort" ? groups[metric][row]
        : interval(groups[metric][row], groups[`${metric}_low`][row], groups[`${metric}_high`][row], metric === "gap")
          + (metric === "ece" && groups.ece[row] <= groups.ece_floor_high[row] ? " chance" : "") })),
    { title: "Noise floor", name: "floor", ...NUMERIC, className: "number optional", render: (row, type) =>
        type === "sort" ? groups.ece_floor[row] : number(groups.ece_floor[row]) },
    { title: "Questions", name: "n", ...NUMERIC, className: "number optional", render: (row) => Math.round(groups.n[row]) },
  ];
  let groupTable;
  const showGroups = () => {
    if (!groupTable) return;
    // groups have no means over trainings, so those of all trainings are shown
    const single = Object.keys(DIMENSIONS).filter((name) => chosen(name) !== OVER);
    const found = matchingOf(groups, (groups.group ?? []).length, single);
    groupTable.columns().every(function () {
      const name = groupTable.settings()[0].aoColumns[this.index()].name;
      if (name in DIMENSIONS) this.visible([ANY, OVER].includes(chosen(name)), false);
    });
    groupTable.clear().rows.add(found).draw();
  };

  const status = (found, metric, reference) => {
    const rows = `${found.length} ${found.length === 1 ? "cell" : "cells"} shown.`;
    if (normalised()) return `${rows} With normalisation by ${chosen("normalise")}, accuracy, gap and ECE are known, without intervals.`;
    const means = matching(Object.keys(DIMENSIONS)).filter((cell) => cells.language[cell] === MEAN);
    if (means.length !== 1) return rows;
    const changed = changeText(change(means[0], metric, reference));
    return `${rows} Mean over ${cells.n[means[0]]} languages: ${short(metric)} ${metricText(means[0], metric)}`
      + (changed ? `, change from ${reference} ${changed}.` : ".");
  };

  // ---- charts ----
  const look = () => {
    const text = dark.matches ? "#e6e6e6" : "#222", line = dark.matches ? "#3a3f46" : "#ddd";
    return { background: null, font: "system-ui, DejaVu Sans, sans-serif", view: { stroke: line },
      axis: { labelColor: text, titleColor: text, gridColor: line, tickColor: line, domainColor: line, labelLimit: 150 },
      legend: { labelColor: text, titleColor: text, orient: "top", title: null }, header: { labelColor: text },
      rule: { stroke: text }, text: { fill: text } };
  };
  const series = [...new Set(cells[SERIES])];
  const allSeries = data.runs ? series.sort() : order(series);
  // the grey of place 0 is that of base models
  const place = (one) => !data.runs && one === NONE ? 0
    : 1 + allSeries.filter((other) => data.runs || other !== NONE).indexOf(one) % (data.colours.length - 1);
  const scales = (shown) => {
    const named = allSeries.filter((one) => shown.has(one));
    const shapes = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];
    return { domain: named.map((one) => data.runs ? one : setting(one)), range: named.map((one) => data.colours[place(one)]),
      shapes: named.map((one) => shapes[place(one)]) };
  };
  const embed = (id, spec) => vegaEmbed(byId(id), { $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    config: look(), ...spec }, { renderer: "svg", actions: false });

  const drawChart = (metric, reference, names) => {
    const wanted = names.filter((name) => name !== SERIES);
    const values = [];
    for (const cell of matching(wanted)) {
      if (cells.language[cell] === MEAN) continue;
      const row = reference && change(cell, metric, reference);
      if (reference && row === undefined) continue;
      const source = reference ? [contrasts.difference, contrasts.low, contrasts.high].map((one) => one[row])
        : ["", "_low", "_high"].map((end) => valuesOf(metric, end)[cell]);
      if (Number.isNaN(source[0])) continue;
      values.push({ language: languageName(cells.language[cell]), code: cells.language[cell], series: cells[SERIES][cell],
        level: levelPlace(cell), setting: seriesName(cell),
        about: [cells.model[cell], cells.data[cell]].filter((one) => one !== NONE).join(" on "),
        value: source[0], low: source[1], high: source[2] });
    }
    values.sort((a, b) => a.level - b.level || (a.code < b.code ? -1 : 1));
    const languages = [...new Set(values.map((one) => one.language))];
    const scale = scales(new Set(values.map((one) => one.series)));
    const crowded = values.length > languages.length * scale.domain.length;
    const title = reference ? `change of ${short(metric)} from ${reference}` : short(metric);
    const y = { field: "language", type: "nominal", sort: languages, title: null };
    const shared = { y, yOffset: { field: "setting", sort: scale.domain },
      color: { field: "setting", type: "nominal", scale: { domain: scale.domain, range: scale.range } } };
    const tooltip = [{ field: "language" }, { field: "about" }, { field: "setting" },
      ...["value", "low", "high"].map((field) => ({ field, format: ".3f" }))];
    embed("explorer-chart", {
      description: `${title} in each language, with 95% intervals; the table has the numbers`,
      data: { values }, width: byId("explorer-chart").clientWidth, autosize: { type: "fit-x", contains: "padding" }, height: { step: Math.max(6, Math.min(12, 36 / scale.domain.length)) },
      layer: [
        { data: { values: [{}] }, mark: { type: "rule", aria: false }, encoding: { x: { datum: 0 } } },
        ...(crowded ? [] : [{ mark: { type: "rule", strokeWidth: 1.5 }, encoding: { ...shared,
          x: { field: "low", type: "quantitative", title }, x2: { field: "high" } } }]),
        { mark: { type: "point", filled: true, size: 45, opacity: crowded ? 0.6 : 1 }, encoding: { ...shared, tooltip,
          x: { field: "value", type: "quantitative", title },
          shape: { field: "setting", type: "nominal", scale: { domain: scale.domain, range: scale.shapes } } } },
      ],
    });
  };

  // ---- one language ----
  let current;
  const openLanguage = (cell, focus) => {
    current = cell;
    const same = (other, names) => names.every((name) => cells[name][other] === cells[name][cell]);
    const scored = ["benchmark", "protocol", "language", ...(data.runs ? [] : ["model", "base_seed"])];
    const settings = [...cells.language.keys()].filter((other) => same(other, scored)
      && (cells.data[other] === NONE || cells.data[cell] === NONE || same(other, TUNED)))
      .sort((a, b) => (cells.beta[a] === NONE ? -1 : +cells.beta[a]) - (cells.beta[b] === NONE ? -1 : +cells.beta[b]));
    const shown = cells.data[cell] === NONE && !data.runs ? [cell] : settings;
    const heading = byId("language-heading");
    heading.replaceChildren(element("bdi", languageName(cells.language[cell])),
      data.runs ? ": " : `: ${[cells.model[cell], cells.data[cell]].filter((one) => one !== NONE).join(" tuned on ")}, `, `${cells.benchmark[cell]}, ${cells.protocol[cell]}`);
    byId("language-view").hidden = false;
    const compared = data.runs ? [chosen("reference")] : ["base", "β = 0"];
    const rows = shown.map((one) => [
      seriesName(one), String(cells.n[one]), ...PLAIN.map((metric) => measuredText(one, metric)),
      number(cells.ece_floor[one]), ...compared.map((reference) => changeText(change(one, "ece", reference))),
      data.records[one]]);
    if (data.runs) byId("language-metrics").tHead.rows[0].cells[7].textContent =
      chosen("reference") ? `Δ ECE from ${chosen("reference")}` : "Δ ECE";
    fill("language-metrics", rows, (last) => last && !alone
      ? element("a", "record", { href: `${data.provenance}#${last}` }) : document.createTextNode(""));
    const values = shown.flatMap((one) => {
      const own = binsOf.get(one) ?? [], total = own.reduce((sum, row) => sum + bins.n[row], 0);
      return own.map((row) => ({ setting: seriesName(one), series: cells[SERIES][one], share: bins.n[row] / total,
        ...Object.fromEntries(Object.keys(bins).map((name) => [name, bins[name][row]])) }));
    });
    fill("language-bins", values.map((one) => [one.setting, `${one.left.toFixed(2)} to ${one.right.toFixed(2)}`,
      String(one.n), number(one.confidence), interval(one.accuracy, one.low, one.high)]));
    byId("diagrams").hidden = !values.length;
    byId("no-diagrams").hidden = shown.every((one) => binsOf.has(one));
    if (values.length) drawReliability(values);
    if (focus) { heading.focus(); byId("language-view").scrollIntoView({ block: "start" }); }
  };
  const fill = (id, rows, last) => byId(id).tBodies[0].replaceChildren(...rows.map((row) => {
    const line = element("tr");
    row.forEach((text, place) => {
      const cell = element("td", last && place === row.length - 1 ? undefined : text);
      if (last && place === row.length - 1) cell.append(last(text));
      line.append(cell);
    });
    return line;
  }));
  const drawReliability = (values) => {
    const scale = scales(new Set(values.map((one) => one.series)));
    const room = byId("reliability-chart").clientWidth - 60, side = Math.max(130, Math.min(230,
      room / Math.min(scale.domain.length, room > 700 ? 4 : 2) - 30));
    const x = (field, more) => ({ field, type: "quantitative", scale: { domain: [0, 1] }, title: "confidence", ...more });
    const y = (field, more) => ({ field, type: "quantitative", scale: { domain: [0, 1] }, title: "accuracy", ...more });
    const tooltip = ["n", "confidence", "accuracy", "low", "high"].map((field) => ({ field, format: field === "n" ? "d" : ".3f" }));
    embed("reliability-chart", {
      description: "Reliability diagrams of each setting; the table below has the numbers",
      data: { values }, columns: room > 700 ? 4 : 2,
      facet: { field: "setting", type: "nominal", sort: scale.domain, title: null },
      spec: { width: side, height: side, layer: [
        { mark: { type: "rect", opacity: 0.35, color: "#999" }, encoding: { x: x("left"), x2: { field: "right" },
          y: y("share"), y2: { datum: 0 }, tooltip } },
        { data: { values: [{ at: 0 }, { at: 1 }] }, mark: { type: "line", strokeDash: [4, 3], color: "#999" },
          encoding: { x: x("at"), y: y("at") } },
        { mark: { type: "rule", strokeWidth: 1.5 }, encoding: { x: x("confidence"), y: y("low"), y2: { field: "high" },
          color: { field: "setting", legend: null, scale } } },
        { mark: { type: "point", filled: true, size: 40, opacity: 1 }, encoding: { x: x("confidence"), y: y("accuracy"), tooltip,
          color: { field: "setting", legend: null, scale } } },
        ...(side < 190 ? [] : [{ mark: { type: "text", fontSize: 8, baseline: "bottom", dy: -1 }, encoding: {
          x: x("middle"), y: { value: side }, text: { field: "n", format: "d" } },
          transform: [{ calculate: "(datum.left + datum.right) / 2", as: "middle" }] }]),
      ] },
    });
  };

  // ---- start ----
  const run = (id) => {
    const script = element("script", byId(id).textContent);
    document.body.append(script);
  };
  const begin = () => {
    run("library-tables");
    run("library-charts");
    document.documentElement.classList.toggle("dark", dark.matches);
    table = new jQuery.fn.dataTable.Api(jQuery("#explorer-table").DataTable({ columns, data: [], deferRender: true,
      pageLength: 25, lengthMenu: [10, 25, 50, { label: "all", value: -1 }], order: [], autoWidth: false,
      language: { search: "Search a language", lengthMenu: "_MENU_ rows a page", info: "_START_ to _END_ of _TOTAL_" } }));
    if (byId("explorer-groups")) {
      groupTable = new jQuery.fn.dataTable.Api(jQuery("#explorer-groups").DataTable({ columns: groupColumns(), data: [],
        deferRender: true, pageLength: 10, lengthMenu: [10, 25, { label: "all", value: -1 }], order: [], autoWidth: false,
        language: { search: "Search a subject", lengthMenu: "_MENU_ rows a page", info: "_START_ to _END_ of _TOTAL_" } }));
    }
    byId("explorer-table").addEventListener("click", (event) => {
      const button = event.target.closest("button.language");
      if (button) openLanguage(+button.dataset.cell, true);
    });
    const again = () => {
      document.documentElement.classList.toggle("dark", dark.matches);
      show();
      if (current !== undefined) openLanguage(current, false);
    };
    dark.addEventListener("change", again);
    addEventListener("resize", again);
    byId("explorer").hidden = false;
    show();
    document.documentElement.dataset.explorer = "ready";
  };
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); begin(); }
  }, { rootMargin: "1500px" }).observe(byId("explore"));
})();
