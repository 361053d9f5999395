// Puts the page together.
'use strict';
function tile(text, label, kind = '') {
  const box = document.createElement('div'), big = document.createElement('b'), small = document.createElement('span');
  box.className = `tile ${kind}`;
  big.textContent = text;
  small.textContent = label;
  box.append(big, small);
  document.getElementById('tiles').append(box);
  return box;
}
// How many trials are in which state, as one bar with its legend.
function stateTile() {
  const counts = {};
  for (const t of trials) counts[t.state] = (counts[t.state] || 0) + 1;
  const box = tile(String(trials.length), '', 'states'), legend = box.lastChild, strip = document.createElement('div');
  strip.className = 'strip';
  for (const state of stateOrder.filter(s => counts[s])) {
    const part = document.createElement('i'), mark = document.createElement('i');
    part.style.cssText = `flex:${counts[state]};background:${stateColor(state)}`;
    mark.style.background = stateColor(state);
    strip.append(part);
    legend.append(mark, `${counts[state]} ${state}`);
  }
  if (!trials.length) legend.textContent = 'trials';
  box.insertBefore(strip, legend);
}
function drawSummary() {
  document.getElementById('name').textContent = data.name;
  document.getElementById('subtitle').textContent = [data.objective, data.strategy, data.started && localTime(data.started)].filter(Boolean).join(' · ');
  const over = document.getElementById('over');
  over.hidden = false;
  over.textContent = data.over ? `over: ${data.over}` : 'not over';
  over.classList.toggle('open', !data.over);
  tile(best ? show(best.value) : '–', `best ${data.metric}`, 'first');
  stateTile();
  tile(duration(data.seconds), 'elapsed');
  if (isNumber(data.slot_seconds)) tile(duration(data.slot_seconds), 'slot time');
  if (isNumber(data.lost_seconds) && data.lost_seconds > 0) tile(duration(data.lost_seconds), 'lost to failures and preemption');
  if (isNumber(data.idle)) tile(`${(data.idle * 100).toFixed(1)} %`, 'slots idle');
}
function drawBest() {
  if (!best) { document.getElementById('best-card').hidden = true; return; }
  const list = document.getElementById('best');
  const entry = (name, value) => {
    const box = document.createElement('div'), term = document.createElement('dt'), text = document.createElement('dd');
    term.textContent = name;
    text.textContent = value;
    box.append(term, text);
    list.append(box);
  };
  entry('trial', best.trial);
  entry(data.metric, show(best.value));
  for (const [key, value] of Object.entries(best.params)) entry(key, show(value));
  document.getElementById('download').onclick = () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([data.best_config || iniOf(best.params)], { type: 'text/plain' }));
    link.download = `${data.name}-best.ini`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
}
// Reasons with how many trials they ended, the commonest first.
function drawFailures() {
  const groups = new Map();
  for (const t of trials) if (t.state === 'failed') {
    const reason = t.reason || 'no reason was given';
    if (!groups.has(reason)) groups.set(reason, []);
    groups.get(reason).push(t.trial);
  }
  const all = [...groups].sort((a, b) => b[1].length - a[1].length), table = document.getElementById('failures');
  document.getElementById('failures-card').hidden = !all.length;
  document.getElementById('failures-hint').textContent = all.length > 8 ? `the 8 commonest of ${all.length} reasons` : '';
  for (const [reason, ids] of all.slice(0, 8)) {
    const row = table.insertRow();
    row.insertCell().textContent = ids.length === 1 ? '1 trial' : `${ids.length} trials`;
    row.insertCell().textContent = reason;
    row.insertCell().textContent = ids.slice(0, 8).join(', ') + (ids.length > 8 ? ', …' : '');
  }
}
// "[optimizer]\nlr = 0.1": keys without a section come first.
function iniOf(params) {
  const sections = new Map([['', []]]);
  for (const [key, value] of Object.entries(params)) {
    const dot = key.indexOf('.'), section = dot < 0 ? '' : key.slice(0, dot);
    if (!sections.has(section)) sections.set(section, []);
    sections.get(section).push(`${key.slice(dot + 1)} = ${value}`);
  }
  return [...sections].filter(([, lines]) => lines.length).map(([name, lines]) => (name ? `[${name}]\n` : '') + lines.join('\n') + '\n').join('\n');
}
const charts = [drawHistory, drawCurves, drawImportance, drawParallel, drawRungs, drawSlots];
// The first charts at once, the ones below them after the browser has painted, so that a big sweep is on the screen at once. By timers:
// a page that nobody looks at gets no frames, and would be printed with holes.
let drawing = 0;
function drawCharts() {
  const turn = ++drawing;
  const next = i => {
    if (turn !== drawing || i === charts.length) return;
    charts[i]();
    setTimeout(() => next(i + 1));
  };
  next(0);
}
for (const canvas of document.querySelectorAll('canvas')) canvas.style.height = `${canvas.getAttribute('height')}px`;  // no jumps later
drawSummary();
drawBest();
drawFailures();
selection.views.push(drawCharts, drawTable);
document.getElementById('history-axis').onchange = drawHistory;
document.getElementById('filter').oninput = event => setFilter(event.target.value);
document.getElementById('table-scroll').onscroll = drawRows;
window.addEventListener('resize', () => requestAnimationFrame(drawCharts));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawCharts);
['history', 'curves', 'slots', 'parallel'].forEach(stage);
['history', 'curves', 'slots'].forEach(pointAt);
brushParallel();
selectionChanged();
document.body.dataset.ready = 'yes';
