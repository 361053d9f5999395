// Charts on canvases: an axis frame that all of them share, then one function a chart.
'use strict';
function canvasOf(id) {
  const canvas = document.getElementById(id), ratio = window.devicePixelRatio || 1;
  if (!canvas.dataset.height) canvas.dataset.height = canvas.getAttribute('height');
  const width = canvas.closest('.card').clientWidth - 32, height = Number(canvas.dataset.height);
  canvas.style.height = `${height}px`;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = '12px system-ui, sans-serif';
  return { canvas, pen, width, height };
}
function emptyNote({ pen, width, height }, text) {
  pen.fillStyle = color('--soft');
  pen.textAlign = 'center';
  pen.fillText(text, width / 2, height / 2);
}
function niceTicks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) ticks.push(Number(at.toPrecision(12)));
  return ticks;
}
// The worst tenth may lie anywhere: it is pressed to the edge, so that the good part can be seen.
function valueRange(list) {
  const sorted = list.filter(isNumber).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const at = share => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  let [low, high] = maximize ? [at(0.1), sorted[sorted.length - 1]] : [sorted[0], at(0.9)];
  if (low === high) { low -= Math.abs(low) * 0.05 || 0.5; high += Math.abs(high) * 0.05 || 0.5; }
  const margin = (high - low) * 0.06;
  return [low - margin, high + margin];
}
function frame(view, [x0, x1], [y0, y1], xName, xTick = show) {
  const { pen, width, height } = view, left = 58, right = 24, top = 8, bottom = 36;
  const X = x => left + (x - x0) / ((x1 - x0) || 1) * (width - left - right);
  const Y = y => height - bottom - (Math.max(y0, Math.min(y1, y)) - y0) / ((y1 - y0) || 1) * (height - top - bottom);
  pen.strokeStyle = color('--line');
  pen.fillStyle = color('--soft');
  pen.lineWidth = 1;
  pen.textAlign = 'right';
  for (const tick of y1 > y0 ? niceTicks(y0, y1, 5) : []) {
    pen.beginPath(); pen.moveTo(left, Y(tick)); pen.lineTo(width - right, Y(tick)); pen.stroke();
    pen.fillText(show(tick), left - 6, Y(tick) + 4);
  }
  pen.textAlign = 'center';
  for (const tick of niceTicks(x0, x1, Math.max(2, Math.min(9, width / 110)))) pen.fillText(xTick(tick), X(tick), height - bottom + 16);
  pen.fillText(xName, (left + width - right) / 2, height - 4);
  return { X, Y, left, right, top, bottom };
}

const hits = new Map();  // canvas id -> [x, y, trial] of what can be pointed at
function drawHistory() {
  const view = canvasOf('history'), { pen } = view, byTime = document.getElementById('history-axis').value === 'time';
  const dots = trials.filter(t => isNumber(t.value));
  if (!dots.length) return emptyNote(view, 'no trial has a result yet');
  const place = t => byTime ? (isNumber(t.ended) ? t.ended : data.seconds) : t.trial;
  const places = dots.map(place);
  const { X, Y } = frame(view, [Math.min(0, ...places.slice(0, 1)), places.reduce((a, b) => Math.max(a, b), 1)],
    valueRange(dots.map(t => t.value)), byTime ? 'time' : 'trial', byTime ? duration : show);
  const points = [], colors = {};
  for (const t of dots) {
    const chosen = isSelected(t), x = X(place(t)), y = Y(t.value);
    pen.globalAlpha = chosen ? 0.75 : 0.12;
    pen.fillStyle = colors[t.state] ??= stateColor(t.state);
    if (dots.length > 2000 && t !== best) pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    else { pen.beginPath(); pen.arc(x, y, t === best ? 5 : 3, 0, 7); pen.fill(); }
    points.push([x, y, t]);
  }
  pen.globalAlpha = 1;
  const floor = view.height - 36;
  for (const t of trials) if (!isNumber(t.value) && t.state === 'failed') {
    const x = X(place(t));
    pen.fillStyle = color('--bad');
    pen.fillRect(x - 1, floor - 7, 2, 7);
    points.push([x, floor - 3, t]);
  }
  pen.strokeStyle = color('--good');
  pen.lineWidth = 2;
  pen.beginPath();
  let top = null;
  for (const t of [...dots].sort((a, b) => place(a) - place(b))) {
    if (top !== null && !better(t.value, top)) continue;
    if (top === null) pen.moveTo(X(place(t)), Y(t.value));
    else { pen.lineTo(X(place(t)), Y(top)); pen.lineTo(X(place(t)), Y(t.value)); }
    top = t.value;
  }
  pen.lineTo(X(places.reduce((a, b) => Math.max(a, b), 1)), Y(top));
  pen.stroke();
  hits.set('history', points);
}

function drawCurves() {
  const view = canvasOf('curves'), { pen } = view;
  const lines = trials.filter(t => t.curve && t.curve.length > 1);
  if (!lines.length) return emptyNote(view, 'trials report no intermediate values');
  const all = thinned(lines, 800).flatMap(t => t.curve.map(p => p[1])), most = lines.reduce((m, t) => Math.max(m, t.curve[t.curve.length - 1][0]), 1);
  const { X, Y } = frame(view, [0, most], valueRange(all), data.resource || 'resource');
  const points = [];
  const draw = (t, width, style, alpha) => {
    pen.globalAlpha = alpha; pen.strokeStyle = style; pen.lineWidth = width;
    pen.beginPath();
    t.curve.forEach(([r, v], i) => isNumber(v) && (i ? pen.lineTo(X(r), Y(v)) : pen.moveTo(X(r), Y(v))));
    pen.stroke();
    for (const [r, v] of t.curve) if (isNumber(v)) points.push([X(r), Y(v), t]);
  };
  const shown = thinned(lines.filter(isSelected), 800), faint = Math.max(0.06, Math.min(0.6, 60 / shown.length));
  for (const t of shown) if (t !== best) draw(t, 1, isNumber(t.value) ? goodness(rankShare(t.value)) : color('--faint'), faint);
  if (best && shown.includes(best)) draw(best, 2.5, color('--good'), 1);
  pen.globalAlpha = 1;
  hits.set('curves', points);
}

function drawImportance() {
  const view = canvasOf('importance'), { pen, width } = view;
  const rows = Object.entries((data.importance || {}).values || {}).sort((a, b) => b[1] - a[1]).slice(0, 12);
  document.getElementById('importance-method').textContent = (data.importance || {}).method || '';
  if (!rows.length) return emptyNote(view, 'too few results to tell');
  const most = rows[0][1] || 1, height = Math.min(30, 270 / rows.length), left = Math.min(200, width * 0.4);
  rows.forEach(([name, share], i) => {
    const y = 6 + i * height;
    pen.fillStyle = color('--ink'); pen.textAlign = 'right';
    pen.fillText(name.length > 28 ? `…${name.slice(-27)}` : name, left - 8, y + height / 2 + 4);
    pen.fillStyle = color('--accent');
    pen.fillRect(left, y + 4, Math.max(1, share / most * (width - left - 60)), height - 8);
    pen.fillStyle = color('--soft'); pen.textAlign = 'left';
    pen.fillText(`${(share * 100).toFixed(1)} %`, left + share / most * (width - left - 60) + 6, y + height / 2 + 4);
  });
}

function drawRungs() {
  const view = canvasOf('rungs'), { pen, width, height } = view, rows = data.rungs || [];
  if (!rows.length) return emptyNote(view, 'this sweep has no rungs: every trial runs to its end');
  const most = rows.reduce((m, r) => Math.max(m, r.entered), 1), step = (width - 20) / rows.length;
  rows.forEach((rung, i) => {
    const x = 10 + i * step, bar = Math.min(64, step * 0.6), Y = n => height - 40 - n / most * (height - 66);
    pen.fillStyle = color('--faint'); pen.fillRect(x + (step - bar) / 2, Y(rung.entered), bar, height - 40 - Y(rung.entered));
    pen.fillStyle = color('--accent'); pen.fillRect(x + (step - bar) / 2, Y(rung.promoted), bar, height - 40 - Y(rung.promoted));
    pen.textAlign = 'center'; pen.fillStyle = color('--ink');
    pen.fillText(`${rung.entered}`, x + step / 2, Y(rung.entered) - 6);
    pen.fillStyle = color('--soft');
    pen.fillText(`${data.resource || 'resource'} ${show(rung.resource)}`, x + step / 2, height - 22);
    pen.fillText(`${rung.promoted} went on`, x + step / 2, height - 6);
  });
}

function drawSlots() {
  const view = canvasOf('slots'), { pen } = view, rows = data.slots || [];
  document.getElementById('slots-hint').textContent = isNumber(data.idle) ? `idle ${(data.idle * 100).toFixed(1)} % of the time` : '';
  if (!rows.length) return emptyNote(view, 'nothing has run yet');
  const end = rows.reduce((m, r) => r.spans.reduce((n, s) => Math.max(n, s[2] ?? data.seconds), m), 0) || 1;
  const { X, top, bottom } = frame(view, [0, end], [0, 0], 'time', duration);
  const height = (view.height - top - bottom) / rows.length, points = [];
  rows.forEach((row, i) => {
    const y = top + i * height, thick = Math.max(2, Math.min(26, height - 3));
    pen.fillStyle = color('--soft'); pen.textAlign = 'right';
    if (height >= 11) pen.fillText(String(row.worker).slice(-9), 52, y + height / 2 + 4);
    for (const [id, from, to] of row.spans) {
      const t = byId.get(id), x = X(from), wide = Math.max(0.6, X(to ?? data.seconds) - x);
      pen.fillStyle = t && isNumber(t.value) ? goodness(rankShare(t.value)) : stateColor(t ? t.state : '');
      pen.globalAlpha = t && !isSelected(t) ? 0.15 : 0.9;
      pen.fillRect(x, y + (height - thick) / 2, Math.max(0.6, wide - 0.5), thick);
      if (t) points.push([x + wide / 2, y + height / 2, t, wide / 2, height / 2]);
    }
  });
  pen.globalAlpha = 1;
  hits.set('slots', points);
}

// A second canvas over a chart, for the one trial that is pointed at: nothing else is drawn again.
const overlays = new Map();
function stage(id) {
  const canvas = document.getElementById(id), box = document.createElement('div'), over = document.createElement('canvas');
  box.className = 'stage';
  canvas.replaceWith(box);
  box.append(canvas, over);
  over.setAttribute('height', canvas.getAttribute('height'));
  over.style.height = canvas.style.height;
  overlays.set(id, over);
}
let pointed = null;
function pointTo(t) {
  if (pointed === t) return;
  pointed = t;
  for (const [id, over] of overlays) {
    const base = document.getElementById(id), ratio = window.devicePixelRatio || 1, pen = over.getContext('2d');
    over.width = base.width; over.height = base.height;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!t) continue;
    pen.strokeStyle = pen.fillStyle = color('--warm');
    pen.lineWidth = 2.5;
    const places = (hits.get(id) || []).filter(hit => hit[2] === t);
    if (id === 'slots') for (const [x, y, , halfWide, halfHigh] of places) pen.strokeRect(x - halfWide, y - halfHigh + 1, halfWide * 2, halfHigh * 2 - 2);
    else if (id === 'history') for (const [x, y] of places) { pen.beginPath(); pen.arc(x, y, 6, 0, 7); pen.stroke(); }
    else {
      pen.beginPath();
      const line = id === 'parallel' ? axes.map((axis, i) => [axisX(i, base.clientWidth), axis.place(t)]).filter(p => p[1] !== null)
        .map(([x, at]) => [x, axisY(at, base.clientHeight)]) : places;
      line.forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y));
      pen.stroke();
    }
  }
  for (const row of document.querySelectorAll('#table tbody tr')) row.classList.toggle('pointed', !!t && row.dataset.trial === String(t.trial));
}
function describe(t) {
  const lines = [`trial ${t.trial} · ${t.state}`, `${data.metric} ${show(t.value)}` + (t.resource ? ` at ${data.resource || 'resource'} ${show(t.resource)}` : '')];
  if (t.reason) lines.push(t.reason.slice(0, 120));
  for (const [key, value] of Object.entries(t.params).slice(0, 14)) lines.push(`${key} = ${show(value)}`);
  return lines.join('\n');
}
function nearestHit(id, x, y) {
  let found = null, closest = 14;
  for (const [px, py, t, halfWide = 0, halfHigh = 0] of hits.get(id) || []) {
    const away = Math.hypot(Math.max(0, Math.abs(px - x) - halfWide), Math.max(0, Math.abs(py - y) - halfHigh));
    if (away < closest) { closest = away; found = t; }
  }
  return found;
}
function pointAt(id) {
  const canvas = document.getElementById(id), tip = document.getElementById('tip');
  canvas.addEventListener('mousemove', event => {
    const t = nearestHit(id, event.offsetX, event.offsetY);
    tip.hidden = !t;
    pointTo(t);
    if (!t) return;
    tip.textContent = describe(t);
    tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8)}px`;
  });
  canvas.addEventListener('mouseleave', () => { tip.hidden = true; pointTo(null); });
}
