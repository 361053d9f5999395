// Puts the page together.
'use strict';
function tile(text, label) {
  const box = document.createElement('div'), big = document.createElement('b'), small = document.createElement('span');
  box.className = 'tile';
  big.textContent = text;
  small.textContent = label;
  box.append(big, small);
  document.getElementById('tiles').append(box);
}
function drawSummary() {
  document.getElementById('name').textContent = data.name;
  document.getElementById('subtitle').textContent = [data.objective, data.strategy, data.started].filter(Boolean).join(' · ');
  const counts = {};
  for (const t of trials) counts[t.state] = (counts[t.state] || 0) + 1;
  tile(best ? show(best.value) : '–', `best ${data.metric}`);
  tile(String(trials.length), 'trials');
  for (const state of Object.keys(counts).sort()) tile(String(counts[state]), state);
  tile(duration(data.seconds), 'elapsed');
  if (isNumber(data.slot_seconds)) tile(duration(data.slot_seconds), 'slot time');
  if (isNumber(data.lost_seconds) && data.lost_seconds > 0) tile(duration(data.lost_seconds), 'lost to preemption');
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
// The first charts at once, the ones below them in the frames after, so that a big sweep is on the screen at once.
let drawing = 0;
function drawCharts() {
  const turn = ++drawing;
  const next = i => {
    if (turn !== drawing || i === charts.length) return;
    charts[i]();
    requestAnimationFrame(() => next(i + 1));
  };
  next(0);
}
for (const canvas of document.querySelectorAll('canvas')) canvas.style.height = `${canvas.getAttribute('height')}px`;  // no jumps later
drawSummary();
drawBest();
selection.views.push(drawCharts, drawTable);
document.getElementById('history-axis').onchange = drawHistory;
document.getElementById('filter').oninput = event => setFilter(event.target.value);
document.getElementById('table-scroll').onscroll = drawRows;
window.addEventListener('resize', () => requestAnimationFrame(drawCharts));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawCharts);
['history', 'curves', 'slots'].forEach(pointAt);
brushParallel();
selectionChanged();
document.body.dataset.ready = 'yes';
