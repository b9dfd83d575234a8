// Draws the charts of a report from its JSON block, and filters by language, stage and words.
// Nothing of a document is ever put into the page as HTML: text goes in through textContent, labels of charts are drawn
// as SVG text, and tooltips are rich text of the chart library, not markup.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const number = (n) => Math.round(n).toLocaleString("en");
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const charts = new Map();
  const narrow = () => window.innerWidth < 704;

  function chart(id, option) {
    const box = $(id);
    if (!box) return;
    if (!charts.has(id)) charts.set(id, echarts.init(box, null, { renderer: "svg" }));
    const ink = color("ink");
    charts.get(id).setOption({
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: ink },
      ...option,
      tooltip: {
        renderMode: "richText", confine: true, backgroundColor: color("card"), borderColor: color("line"),
        textStyle: { color: ink, fontSize: 12 }, ...option.tooltip,
      },
    }, true);
  }

  // The funnel of all documents, or of one language from the stage that knew it on.
  function path(code) {
    if (!code) {
      return data.funnel.map((s) => ({ stage: s.stage, in: s.in + s.added, kept: s.kept, lost: s.lost }));
    }
    const row = data.languages.rows.find((r) => r.code === code);
    let entered = row.in;
    return data.languages.stages.map((stage, i) => {
      const step = { stage, in: entered, kept: row.kept_by_stage[i], lost: row.lost[stage] || {} };
      entered = step.kept;
      return step;
    });
  }

  // Wide pages: left to right, two reasons a stage. Narrow ones: from top to bottom, one.
  function drawFlow(code) {
    const vertical = narrow(), all = path(code);
    const steps = all.filter((s) => Object.values(s.lost).some((n) => n > 0));
    const first = all.length ? all[0].in : 0, last = all.length ? all[all.length - 1].kept : 0;
    const nodes = [], left = [], links = [], kept = color("kept"), lost = color("lost"), ink = color("ink");
    $("flow").classList.toggle("whole", !steps.length);
    if (charts.has("flow")) charts.get("flow").resize();
    const box = $("flow").clientWidth, column = vertical ? 170 : (box - 150) / Math.max(steps.length, 1);
    const node = (name, depth, fill, lines, position, width) => (fill === kept ? nodes : left).push({
      name, depth, itemStyle: { color: fill, borderWidth: 0 }, full: lines.join(": "),
      label: {
        formatter: lines.join("\n"), position, color: ink, fontSize: vertical ? 11 : 12, lineHeight: 15, width, overflow: "truncate",
        align: "left", textBorderColor: color("card"), textBorderWidth: 2,
      },
    });
    const onStage = vertical ? [6, 13] : [0, -34];
    steps.forEach((s, i) => {
      node(`stage ${i}`, i, kept, vertical ? [`${s.stage}  ${number(s.in)}`] : [s.stage, number(s.in)], onStage, column - 10);
      const next = i + 1 < steps.length ? `stage ${i + 1}` : "kept";
      if (s.kept) links.push({ source: `stage ${i}`, target: next, value: s.kept, lineStyle: { color: kept } });
      const reasons = Object.entries(s.lost).sort((a, b) => b[1] - a[1]);
      const most = vertical ? 1 : 2;
      const shown = reasons.length > most ? reasons.slice(0, most - 1) : reasons;
      const rest = reasons.slice(shown.length);
      if (rest.length) shown.push([vertical ? `${rest[0][0]}${rest.length > 1 ? ` +${rest.length - 1}` : ""}` : `${rest.length} reasons`, rest.reduce((sum, [, n]) => sum + n, 0)]);
      shown.forEach(([reason, n], k) => {
        const name = `lost ${i} ${k}`;
        node(name, i + 1, lost, vertical ? [number(n), reason] : [reason, number(n)], "right", vertical ? 96 : i + 1 === steps.length ? 130 : column - 24);
        links.push({ source: `stage ${i}`, target: name, value: n, lineStyle: { color: lost } });
      });
    });
    node("kept", steps.length || 1, kept, vertical ? [`kept  ${number(last)}`] : ["kept", number(last)], vertical ? [6, 13] : "right", 130);
    if (!steps.length) {  // nothing was taken: one flow, from what came in to the same number kept
      node("in", 0, kept, vertical ? [`in  ${number(first)}`] : ["in", number(first)], onStage, 130);
      links.push({ source: "in", target: "kept", value: last, lineStyle: { color: kept } });
    }
    chart("flow", {
      tooltip: { formatter: (p) => p.dataType === "edge" ? `${number(p.value)} documents` : p.data.full },
      series: [{
        // Without iterations nodes stay in the order given: what is kept above, what leaves below it.
        type: "sankey", orient: vertical ? "vertical" : "horizontal", nodeAlign: "left", draggable: false, layoutIterations: 0,
        nodeGap: vertical ? 10 : 26, nodeWidth: 10, emphasis: { focus: "adjacency" },
        left: 4, right: vertical ? 104 : 140, top: vertical ? 4 : 40, bottom: vertical ? 30 : 20,
        lineStyle: { opacity: 0.26, curveness: 0.5 }, data: [...nodes, ...left], links,
      }],
    });
    $("flow-of").textContent = code ? ` Only ${code}, from the stage that identifies it on.` : "";
  }

  const axis = () => ({ axisLine: { lineStyle: { color: color("line") } }, axisTick: { show: false }, axisLabel: { color: color("soft"), fontSize: 11 }, splitLine: { lineStyle: { color: color("line") } } });
  const compact = (n) => n >= 1e9 ? `${n / 1e9}G` : n >= 1e6 ? `${n / 1e6}M` : n >= 1e3 ? `${n / 1e3}k` : `${n}`;

  function drawLanguages(code) {
    if (!data.languages) return;
    const rows = data.languages.rows.slice(0, narrow() ? 12 : data.charted);
    const fade = (r, c) => ({ value: c, itemStyle: { opacity: !code || r.code === code ? 1 : 0.25 } });
    const series = [
      { name: "kept", type: "bar", stack: "documents", color: color("kept"), data: rows.map((r) => fade(r, r.kept)) },
      { name: "lost", type: "bar", stack: "documents", color: color("lost"), data: rows.map((r) => fade(r, r.in - r.kept)) },
    ];
    const yAxis = [{ type: "log", logBase: 10, min: 0.5, name: "documents", ...axis() }];
    const most = Math.max(...rows.map((r) => r.in)), least = Math.min(...rows.map((r) => r.in));
    // A stack means nothing on a logarithmic axis: documents side by side there, stacked where one axis shows all.
    const wide = most > 200 * Math.max(least, 1);
    if (wide) { series.forEach((s) => { delete s.stack; }); series[1].name = "in"; series[1].color = color("other"); series[1].data = rows.map((r) => fade(r, r.in)); series.reverse(); }
    else { yAxis[0] = { type: "value", name: "documents", ...axis() }; }
    const tokens = rows.some((r) => r.tokens);
    if (tokens) {
      yAxis.push({ type: "log", min: 0.5, name: "tokens", ...axis(), splitLine: { show: false } });
      series.push({ name: "tokens", type: "scatter", yAxisIndex: 1, symbol: "diamond", symbolSize: 9, color: color("accent"), data: rows.map((r) => fade(r, r.tokens || null)) });
    }
    yAxis.forEach((y) => { y.axisLabel = { ...y.axisLabel, formatter: (n) => n < 1 && n > 0 ? "" : compact(n) }; y.nameTextStyle = { color: color("soft"), fontSize: 11 }; });
    chart("languages-chart", {
      legend: { top: 0, textStyle: { color: color("soft") }, itemWidth: 12, itemHeight: 10 },
      grid: { left: 8, right: 8, top: 56, bottom: 6, containLabel: true },
      tooltip: { trigger: "axis", valueFormatter: (v) => v == null ? "" : number(v) },
      xAxis: { type: "category", data: rows.map((r) => r.code), ...axis(), splitLine: { show: false }, axisLabel: { ...axis().axisLabel, rotate: 55, interval: 0 } },
      yAxis, series,
    });
  }

  // Where a limit stands on an axis of bins: between two bins if it is an edge, else within one.
  function place(edges, limit) {
    let i = 0;
    while (i < edges.length && edges[i] <= limit) i += 1;
    const low = edges[i - 1], high = edges[i];
    const inside = low === undefined || high === undefined || low === limit ? 0 : (limit - low) / (high - low);
    return i + inside - 0.5;
  }

  // The limits of a language, or with none chosen what those of all languages span: a line, or a band where they differ.
  function drawHistogram(h, i, code) {
    const one = (limits) => Object.entries(limits).map(([key, n]) => [key, [n, n]]);
    const spans = code ? one(h.by_language[code] || h.limits) : Object.entries(h.ranges);
    const said = ([low, high], format) => low === high ? format(low) : `${format(low)} – ${format(high)}`;
    if ($(`limits-${i}`)) $(`limits-${i}`).textContent = spans.map(([key, span]) => `${key} ${said(span, (n) => n.toLocaleString("en"))}`).join(", ") || "no limit";
    const label = { color: color("lost"), fontSize: 11, distance: 3 };
    const lines = spans.filter(([, [low, high]]) => low === high), bands = spans.filter(([, [low, high]]) => low < high);
    chart(`histogram-${i}`, {
      grid: { left: 4, right: 12, top: 22, bottom: 4, containLabel: true },
      tooltip: { trigger: "axis", axisPointer: { type: "shadow" }, formatter: (p) => `${h.labels[p[0].dataIndex]}: ${number(p[0].value)}` },
      xAxis: [
        { type: "category", data: h.labels, ...axis(), splitLine: { show: false }, axisLabel: { ...axis().axisLabel, hideOverlap: true } },
        { type: "value", min: -0.5, max: h.counts.length - 0.5, show: false },
      ],
      yAxis: { type: "value", ...axis(), splitNumber: 3, axisLabel: { ...axis().axisLabel, formatter: compact } },
      series: [
        { type: "bar", data: h.counts, barCategoryGap: "8%", color: color("kept") },
        {
          type: "line", xAxisIndex: 1, data: [], silent: true, tooltip: { show: false },
          markLine: {
            symbol: "none", silent: true, lineStyle: { color: color("lost"), type: "solid", width: 1.5 }, label,
            data: lines.map(([, [n]]) => ({ xAxis: place(h.edges, n), label: { formatter: compact(n) } })),
          },
          markArea: {
            silent: true, itemStyle: { color: color("lost"), opacity: 0.28 }, label: { ...label, position: "top" },
            data: bands.map(([, [low, high]]) => [{ xAxis: place(h.edges, low), name: said([low, high], compact) }, { xAxis: place(h.edges, high) }]),
          },
        },
      ],
    });
  }

  function drawCost() {
    const rows = data.funnel.filter((s) => s.cpu_s > 0).sort((a, b) => a.cpu_s - b.cpu_s).slice(-18);
    if ($("cost-chart")) $("cost-chart").style.height = `${Math.max(rows.length, 3) * 22 + 30}px`;
    chart("cost-chart", {
      grid: { left: 4, right: 60, top: 4, bottom: 4, containLabel: true },
      tooltip: { trigger: "axis", axisPointer: { type: "shadow" }, valueFormatter: (v) => `${v.toFixed(2)} CPU s` },
      xAxis: { type: "value", ...axis(), axisLabel: { ...axis().axisLabel, formatter: compact } },
      yAxis: { type: "category", data: rows.map((s) => s.stage), ...axis(), axisLabel: { color: color("ink"), fontSize: 11 } },
      series: [{ type: "bar", data: rows.map((s) => s.cpu_s), color: color("accent"), barMaxWidth: 14,
        label: { show: true, position: "right", color: color("soft"), fontSize: 11, formatter: (p) => p.value.toFixed(2) } }],
    });
  }

  function drawMix() {
    if (!data.mix) return;
    const rows = data.mix.slice(0, 24);
    chart("mix-chart", {
      legend: { top: 0, textStyle: { color: color("soft") } },
      grid: { left: 4, right: 8, top: 36, bottom: 4, containLabel: true },
      tooltip: { trigger: "axis", valueFormatter: (v) => `${(100 * v).toFixed(2)} %` },
      xAxis: { type: "category", data: rows.map((r) => r.group), ...axis(), splitLine: { show: false }, axisLabel: { ...axis().axisLabel, rotate: rows.length > 6 ? 40 : 0, hideOverlap: true } },
      yAxis: { type: "value", ...axis(), axisLabel: { ...axis().axisLabel, formatter: (v) => `${(100 * v).toFixed(0)} %` } },
      series: [
        { name: "planned", type: "bar", data: rows.map((r) => r.planned), color: color("other") },
        { name: "realised", type: "bar", data: rows.map((r) => r.realised), color: color("kept") },
      ],
    });
  }

  // Where colours and widths are read when drawing: on a change of scheme or width everything is drawn again.
  function draw() {
    const code = $("language") ? $("language").value : "";
    drawFlow(code);
    drawLanguages(code);
    data.histograms.forEach((h, i) => drawHistogram(h, i, code));
    drawCost();
    drawMix();
  }

  function filter() {
    const code = $("language") ? $("language").value : "";
    const stage = $("stage").value;
    const words = $("search").value.trim().toLowerCase();
    document.querySelectorAll("[data-stage]").forEach((e) => e.classList.toggle("hidden", !!stage && e.dataset.stage !== stage));
    document.querySelectorAll("tr[data-language]").forEach((e) => e.classList.toggle("hidden", !!code && e.dataset.language !== code));
    let shown = 0;
    const row = code ? data.languages.rows.find((r) => r.code === code) : null;
    document.querySelectorAll("#reasons details").forEach((box) => {
      const name = `${box.dataset.stage} ${box.dataset.reason}`.toLowerCase();
      let hits = 0;
      box.querySelectorAll(".sample").forEach((e) => {
        const hit = (!e.dataset.extra || code || words) && (!code || e.dataset.language === code) && (!words || name.includes(words) || e.textContent.toLowerCase().includes(words));
        e.classList.toggle("hidden", !hit);
        hits += hit ? 1 : 0;
      });
      const counted = row ? Object.keys(row.lost[box.dataset.stage] || {}).includes(box.dataset.reason) : !words || name.includes(words);
      const visible = (hits > 0 || (counted && !words)) && (!stage || box.dataset.stage === stage);
      box.classList.toggle("hidden", !visible);
      box.open = visible && (!!words || !!code) && hits > 0 && shown < 12;
      shown += visible ? 1 : 0;
    });
    $("nothing").classList.toggle("hidden", shown > 0 || !document.querySelector("#reasons details"));
  }

  $("filters").addEventListener("submit", (e) => e.preventDefault());
  if ($("language")) $("language").addEventListener("change", () => { filter(); draw(); });
  $("stage").addEventListener("change", filter);
  $("search").addEventListener("input", filter);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    charts.forEach((c) => c.resize());
    if ((width < 704) !== narrow()) draw();
    width = window.innerWidth;
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("beforeprint", draw);
  window.matchMedia("print").addEventListener("change", () => { charts.forEach((c) => c.resize()); draw(); });
  draw();
})();
