// Draws what a run tells at /graph (once), /history and /metrics (every two seconds). Texts are set as text, never as markup.
"use strict";

const PAUSE_MS = 2000;
const ROWS = 20;
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Shares of one, side by side.
function bar(parts, label) {
  const all = drawn("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": label });
  let from = 0;
  for (const [kind, share] of parts) {
    const width = Math.max(0, Math.min(1000 - from, share * 1000));
    if (width > 0) all.append(drawn("rect", { class: `fill-${kind}`, x: from, y: 0, width, height: 10 }));
    from += width;
  }
  return all;
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const rate = (perSecond) => `${short.format(Math.round(perSecond * 10) / 10)}/s`;
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

function duration(ms) {
  if (ms < 1) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit + 1 < units.length) { count /= 1000; unit += 1; }
  return `${count < 10 && unit > 0 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

// Prometheus' text format: a list of {name, labels, value}.
function parse(text) {
  const series = [];
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, kept) => (kept === "n" ? "\n" : kept));
    }
    series.push({ name: found[1], labels, value: Number(found[3]) });
  }
  return series;
}

// What series of a name add up to, of those with these labels.
function sum(series, name, labels = {}) {
  const fits = (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value);
  const values = series.filter(fits).map((one) => one.value);
  return values.length > 0 ? values.reduce((one, other) => one + other, 0) : null;
}

const seen = { series: null, ms: 0, speeds: new Map() };

// How fast a counter grows; the newest known while two looks are the same.
function speed(series, nowMs, name, labels) {
  const key = name + JSON.stringify(labels);
  const now = sum(series, name, labels);
  const before = seen.series ? sum(seen.series, name, labels) : null;
  if (now !== null && before !== null && nowMs > seen.ms) {
    seen.speeds.set(key, Math.max(0, now - before) / ((nowMs - seen.ms) / 1000));
  }
  return seen.speeds.get(key) ?? null;
}

// Longest way from a source, so that rows flow from left to right.
function ranks(stages) {
  const rank = stages.map(() => 0);
  stages.forEach((stage, index) => {
    for (const { stage: from } of stage.from) rank[index] = Math.max(rank[index], rank[from] + 1);
  });
  return rank;
}

let overview = null;
const cards = [];

function layOut() {
  const rank = ranks(overview.stages);
  const columns = [];
  overview.stages.forEach((stage, index) => {
    const told = [];
    if (stage.source) told.push(`source ${stage.source}`);
    for (const { exchange } of stage.from) told.push(exchange);
    for (const sink of stage.sinks) told.push(`sink ${sink}`);
    const card = {
      rates: element("p", { className: "rate" }), time: element("p", {}), bar: element("div", {}),
    };
    card.box = element("article", { className: "stage", title: stage.operators.join("\n") },
      element("h3", {}, `${stage.name} × ${overview.parallelism}`),
      ...told.map((text) => element("p", {}, text)), card.rates, card.time, card.bar);
    cards.push(card);
    (columns[rank[index]] ??= element("div", { className: "rank" })).append(card.box);
  });
  at("graph").replaceChildren(...columns, drawn("svg", { class: "edges", "aria-hidden": "true" }));
  addEventListener("resize", connect);
  connect();
  at("name").textContent = overview.name;
  document.title = `${overview.name} · Onceward`;
  at("configuration").textContent = JSON.stringify(overview.spec, null, 2);
}

function connect() {
  const graph = at("graph");
  const edges = graph.querySelector(".edges");
  const frame = graph.getBoundingClientRect();
  const paths = [];
  overview.stages.forEach((stage, index) => {
    const to = cards[index].box.getBoundingClientRect();
    for (const { stage: number } of stage.from) {
      const from = cards[number].box.getBoundingClientRect();
      const [x, y] = [from.right - frame.left + graph.scrollLeft, from.top + from.height / 2 - frame.top];
      const [endX, endY] = [to.left - frame.left + graph.scrollLeft, to.top + to.height / 2 - frame.top];
      const middle = (x + endX) / 2;
      paths.push(drawn("path", { d: `M${x},${y} C${middle},${y} ${middle},${endY} ${endX},${endY}` }));
    }
  });
  edges.replaceChildren(...paths);
}

function showGraph(series, nowMs) {
  overview.stages.forEach((stage, index) => {
    const card = cards[index];
    const rates = [];
    if (stage.source) {
      const read = speed(series, nowMs, "onceward_source_records_total", { source: stage.source });
      if (read !== null) rates.push(`reads ${rate(read)}`);
      const lag = sum(series, "onceward_source_lag_records", { source: stage.source });
      if (lag !== null) rates.push(`${short.format(lag)} behind`);
    }
    for (const sink of stage.sinks) {
      const written = speed(series, nowMs, "onceward_sink_records_total", { sink });
      if (written !== null) rates.push(`writes ${rate(written)}`);
    }
    card.rates.textContent = rates.join(" · ");
    const reached = series.filter((one) => one.name === "onceward_operator_watermark_timestamp_seconds" && one.labels.operator === stage.name && one.value > 0);
    const watermark = Math.min(...reached.map((one) => one.value * 1000));
    const isEnd = watermark > 8.64e15;
    card.time.textContent = reached.length === 0 || isEnd ? "" : `event time ${new Date(watermark).toISOString().slice(0, 19).replace("T", " ")}`;
    const share = (what) => (speed(series, nowMs, `onceward_operator_${what}_seconds_total`, { operator: stage.name }) ?? 0) / overview.parallelism;
    const [busy, held] = [Math.min(1, share("busy")), Math.min(1, share("backpressured"))];
    const percent = (value) => `${Math.round(value * 100)} %`;
    const label = `busy ${percent(busy)}, back-pressured ${percent(held)}, idle ${percent(Math.max(0, 1 - busy - held))}`;
    card.bar.replaceChildren(bar([["busy", busy], ["held", held]], label));
    card.bar.title = label;
  });
}

function showCheckpoints(history) {
  const ended = history.checkpoints.filter((one) => one.event !== "commit.completed").slice(-ROWS).reverse();
  const commits = new Map(history.checkpoints.filter((one) => one.event === "commit.completed").map((one) => [`${one.attempt}/${one.epoch}`, one]));
  const longest = Math.max(1, ...ended.map((one) => one.durations?.totalUs ?? 0));
  const rows = ended.map((one) => {
    const when = element("td", {}, clock(one.atMs));
    const epoch = element("td", {}, `${one.epoch}`);
    epoch.title = `attempt ${one.attempt}`;
    if (one.event === "checkpoint.failed") {
      return element("tr", { className: "failed" }, epoch, when, element("td", { colSpan: 5 }, `failed: ${one.reason}`));
    }
    const commit = commits.get(`${one.attempt}/${one.epoch}`);
    const stages = [["align", "alignUs"], ["snapshot", "snapshotUs"], ["upload", "uploadUs"], ["precommit", "preCommitUs"], ["decide", "decideUs"]];
    const parts = stages.map(([kind, field]) => [kind, one.durations[field] / longest]);
    if (commit) parts.push(["commit", commit.durationUs / longest]);
    const label = stages.map(([kind, field]) => `${kind} ${duration(one.durations[field] / 1000)}`).join(", ");
    const bars = element("td", { className: "wide", title: label }, bar(parts, label));
    const committed = one.committables === 0 ? "nothing to commit" : commit ? duration(commit.durationUs / 1000) : "pending";
    return element("tr", {}, epoch, when, element("td", {}, duration(one.durations.totalUs / 1000)), bars,
      element("td", { className: committed === "pending" ? "doubt-text" : "" }, committed),
      element("td", {}, bytes(one.sizeBytes)), element("td", {}, short.format(one.rows)));
  });
  at("checkpoints").replaceChildren(...(rows.length > 0 ? rows : [element("tr", {}, element("td", { colSpan: 7 }, "none yet"))]));
}

function showCommits(series, nowMs) {
  const sinks = [...new Set(overview.stages.flatMap((stage) => stage.sinks))];
  at("commits").replaceChildren(...sinks.map((sink) => {
    const of = (name) => sum(series, name, { sink }) ?? 0;
    const pending = of("onceward_commits_pending");
    const since = of("onceward_commit_oldest_pending_timestamp_seconds") * 1000;
    const begun = of("onceward_transaction_oldest_open_timestamp_seconds") * 1000;
    const timeout = of("onceward_transaction_timeout_seconds") * 1000;
    const left = begun > 0 && timeout > 0 ? begun + timeout - nowMs : null;
    const isNear = left !== null && left < timeout / 2;
    return element("tr", {}, element("td", {}, sink), element("td", {}, short.format(of("onceward_sink_records_total"))),
      element("td", {}, `${pending}`), element("td", {}, pending > 0 && since > 0 ? duration(Math.max(0, nowMs - since)) : "–"),
      element("td", {}, begun > 0 ? `since ${duration(Math.max(0, nowMs - begun))}` : "–"),
      element("td", { className: isNear ? "bad-text" : "" }, left === null ? "–" : `in ${duration(Math.max(0, left))}`),
      element("td", {}, `${of("onceward_commit_retries_total")}`));
  }));
}

// One line for an event; null: not worth one.
function told(one) {
  const checkpoint = `${one.attempt}/${one.epoch}`;
  const texts = {
    "claimed": () => `attempt ${one.attempt} has the log of pipeline ${one.pipelineId}`,
    "begun": () => "a new log is begun",
    "restored": () => `goes on from checkpoint ${one.decidedBy}/${one.epoch} (${bytes(one.sizeBytes)})`,
    "recovery.began": () => `${one.committables} pieces of decided output: asking what became of them`,
    "recovery.ended": () => `${one.sink}: ${one.what}: ${one.end}`,
    "leftovers.aborted": () => `${one.count} left open in ${one.sink}, which nobody decided: aborted`,
    "running": () => `attempt ${one.attempt} runs with ${one.tasks} tasks`,
    "commit.retried": () => `commit of ${checkpoint} to ${one.sink} failed (${one.tries}): ${one.message}; again in ${duration(one.retryInMs)}`,
    "attempt.failed": () => `${one.attempt === null ? "the start" : `attempt ${one.attempt}`} failed: ${one.message}; again in ${duration(one.retryInMs)}`,
    "checkpoint.requested": () => `${one.savepoint ? "a savepoint" : "a checkpoint"} is asked for`,
    "checkpoint.answered": () => `it is taken: ${one.handle}`,
    "stopping": () => "told to stop; the last checkpoint is on its way",
    "stopped": () => "stopped; everything decided is visible",
    "stopped.undecided": () => one.message,
    "finished": () => "finished: every source has ended, everything is visible",
    "failed": () => `failed: ${one.message}`,
  };
  return texts[one.event] ? texts[one.event]() : null;
}

const GRAVE = new Set(["failed", "attempt.failed", "commit.retried"]);

function showEvents(history) {
  const lines = history.events.map((one) => [one, told(one)]).filter(([, text]) => text !== null).slice(-ROWS * 2).reverse();
  at("events").replaceChildren(...lines.map(([one, text]) => {
    const time = element("time", { dateTime: new Date(one.atMs).toISOString() }, clock(one.atMs));
    return element("li", {}, time, element("span", { className: GRAVE.has(one.event) ? "bad-text" : "" }, text));
  }));
}

const WORDS = {
  "claimed": ["recovering", "doubt"], "recovery.began": ["recovering", "doubt"], "restored": ["restoring", "doubt"], "begun": ["starting", "doubt"],
  "running": ["running", "good"], "attempt.failed": ["restarting", "doubt"], "stopping": ["stopping", "doubt"], "stopped": ["stopped", "good"],
  "stopped.undecided": ["stopped", "doubt"], "finished": ["finished", "good"], "failed": ["failed", "bad"], "settled": ["settled", "good"],
};

function showHead(history, series) {
  const newest = history.events.findLast((one) => WORDS[one.event]);
  let [word, kind] = newest ? WORDS[newest.event] : ["starting", "doubt"];
  const failing = sum(series, "onceward_checkpoint_consecutive_failures") ?? 0;
  if (word === "running" && failing > 0) [word, kind] = [`running; ${failing} checkpoints in a row failed`, "doubt"];
  at("word").textContent = word;
  at("state").className = kind;
  const completed = history.checkpoints.findLast((one) => one.event === "checkpoint.completed");
  const facts = [
    ["guarantee", overview.guarantee],
    ["up", duration(history.nowMs - history.beganMs)],
    ["rows in", history.progress ? `${short.format(history.progress.rowsIn)} (${rate(history.progress.rowsInPerSecond)})` : "–"],
    ["newest checkpoint", completed ? `${completed.attempt}/${completed.epoch}, ${duration(Math.max(0, history.nowMs - completed.atMs))} ago` : "none yet"],
    ["restarts", `${sum(series, "onceward_pipeline_restarts_total") ?? 0}`],
    ["version", overview.version],
  ];
  at("facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

let answeredMs = null;

async function look() {
  try {
    if (overview === null) {
      overview = await (await ask("graph")).json();
      layOut();
    }
    const [history, text] = await Promise.all([ask("history").then((answer) => answer.json()), ask("metrics").then((answer) => answer.text())]);
    const series = parse(text);
    showHead(history, series);
    showGraph(series, history.nowMs);
    showCheckpoints(history);
    showCommits(series, history.nowMs);
    showEvents(history);
    connect();
    Object.assign(seen, { series, ms: history.nowMs });
    answeredMs = Date.now();
    at("stale").hidden = true;
  } catch (error) {
    const since = answeredMs === null ? "" : `; what is shown is ${duration(Date.now() - answeredMs)} old`;
    at("stale").textContent = `The run does not answer (it has ended, or cannot be reached)${since}.`;
    at("stale").hidden = false;
    if (answeredMs !== null) {
      at("word").textContent = "not reachable";
      at("state").className = "bad";
    }
  }
  setTimeout(look, PAUSE_MS);
}

look();
