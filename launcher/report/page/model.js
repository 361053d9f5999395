// What the page knows: the report's data, and what is selected. Views redraw when the selection changes.
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const maximize = data.goal !== 'min';
const trials = data.trials;
const isNumber = v => typeof v === 'number' && isFinite(v);
const better = (a, b) => maximize ? a > b : a < b;
const byId = new Map(trials.map(t => [t.trial, t]));
const best = trials.reduce((top, t) => t.state === 'complete' && isNumber(t.value) && (!top || better(t.value, top.value)) ? t : top, null)
  || trials.reduce((top, t) => isNumber(t.value) && (!top || better(t.value, top.value)) ? t : top, null);

const selection = { ranges: new Map(), text: '', views: [] };
function isSelected(trial) {
  for (const [axis, [low, high]] of selection.ranges) {
    const at = axis.place(trial);
    if (at === null || at < low || at > high) return false;
  }
  return selection.accepts ? selection.accepts(trial) : true;
}
function selectionChanged() {
  const any = selection.ranges.size > 0 || selection.text !== '';
  const note = document.getElementById('selection');
  note.hidden = !any;
  if (any) note.textContent = `${trials.filter(isSelected).length} of ${trials.length} trials selected`;
  for (const view of selection.views) view();
}

// Numbers and times as people read them.
function show(v) {
  if (v === null || v === undefined) return '–';
  if (typeof v !== 'number') return String(v);
  if (!isFinite(v)) return String(v);
  if (v === 0) return '0';
  const size = Math.abs(v);
  if (Number.isInteger(v) && size < 1e7) return String(v);
  return size >= 1e5 || size < 1e-3 ? v.toExponential(2).replace(/\.?0*e\+?/, 'e') : String(Number(v.toPrecision(4)));
}
function duration(seconds) {
  if (!isNumber(seconds)) return '–';
  if (seconds === 0) return '0';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, '0')} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.round(seconds % 3600 / 60)).padStart(2, '0')} min`;
}
function localTime(iso) {
  const at = new Date(iso);
  return isNaN(at) ? iso : at.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const stateOrder = ['complete', 'stopped', 'paused', 'running', 'queued', 'preempted', 'evicted', 'failed'];
const stateColor = state => color({ complete: '--accent', failed: '--bad', running: '--warm', stopped: '--soft' }[state] || '--faint');
// So many lines are drawn and no more: the best twentieth, and an even sample of the rest (more would be one blot, slowly).
function thinned(list, most = 1200) {
  if (list.length <= most) return list;
  const sorted = [...list].sort((a, b) => better(a.value, b.value) ? -1 : better(b.value, a.value) ? 1 : 0);
  const top = Math.floor(most / 20), stride = (sorted.length - top) / (most - top);
  return sorted.slice(0, top).concat(Array.from({ length: most - top }, (_, i) => sorted[top + Math.floor(i * stride)]));
}
// Text over lines: the ground drawn around it.
function haloed(pen, text, x, y) {
  pen.save();
  pen.strokeStyle = color('--card');
  pen.lineWidth = 4;
  pen.lineJoin = 'round';
  pen.strokeText(text, x, y);
  pen.restore();
  pen.fillText(text, x, y);
}
// Dark blue (worst) to yellow (best), even in lightness.
function goodness(share) {
  const stops = [[68, 62, 133], [49, 104, 142], [33, 145, 140], [94, 190, 98], [222, 196, 40]];
  const at = Math.max(0, Math.min(1, share)) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2), part = at - low;
  const mixed = stops[low].map((c, i) => Math.round(c + (stops[low + 1][i] - c) * part));
  return `rgb(${mixed.join(',')})`;
}
const values = trials.map(t => t.value).filter(isNumber).sort((a, b) => maximize ? a - b : b - a);
// The share of trials that are no better: ranks spread colours where values crowd.
function rankShare(value) {
  let low = 0, high = values.length;
  while (low < high) { const mid = (low + high) >> 1; better(value, values[mid]) || value === values[mid] ? low = mid + 1 : high = mid; }
  return values.length > 1 ? (low - 1) / (values.length - 1) : 1;
}
