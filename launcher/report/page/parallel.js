// Parallel coordinates: an axis a key and one for the objective; dragging along an axis selects.
'use strict';
function makeAxis(key) {
  const seen = trials.map(t => t.params[key.name]).filter(v => v !== undefined && v !== null);
  if (key.kind === 'choice' || key.kind === 'order' || seen.some(v => typeof v !== 'number')) {
    const list = key.values && key.values.length ? key.values.map(String) : [...new Set(seen.map(String))];
    const place = t => t.params[key.name] === undefined ? null
      : list.length > 1 ? list.indexOf(String(t.params[key.name])) / (list.length - 1) : 0.5;
    return { name: key.name, place, ticks: list.map((v, i) => [list.length > 1 ? i / (list.length - 1) : 0.5, v]) };
  }
  const log = key.scale === 'log' && seen.every(v => v > 0), f = v => log ? Math.log10(v) : v;
  const low = f(isNumber(key.low) ? key.low : Math.min(...seen)), high = f(isNumber(key.high) ? key.high : Math.max(...seen));
  const share = v => high > low ? (f(v) - low) / (high - low) : 0.5;
  const ticks = log && high - low >= 1 ? niceTicks(Math.ceil(low), high, 6).filter(Number.isInteger).map(e => [share(10 ** e), show(10 ** e)])
    : niceTicks(low, high, 5).map(v => [high > low ? (v - low) / (high - low) : 0.5, show(log ? 10 ** v : v)]);
  return { name: key.name, place: t => isNumber(t.params[key.name]) ? share(t.params[key.name]) : null, ticks };
}
function objectiveAxis() {
  const [low, high] = valueRange(values);
  return { name: data.metric, place: t => isNumber(t.value) ? Math.max(0, Math.min(1, (t.value - low) / (high - low))) : null,
    ticks: niceTicks(low, high, 5).map(v => [(v - low) / (high - low), show(v)]) };
}
const axes = [...(data.keys || []).filter(k => k.kind !== 'const').map(makeAxis), objectiveAxis()];
const band = { top: 40, bottom: 14 };
function axisX(i, width) { return axes.length > 1 ? 50 + i * (width - 110) / (axes.length - 1) : width / 2; }
function axisY(share, height) { return height - band.bottom - share * (height - band.top - band.bottom); }

function drawParallel() {
  const view = canvasOf('parallel'), { pen, width, height } = view;
  const lines = trials.filter(t => isNumber(t.value)), chosen = lines.filter(isSelected);
  if (!lines.length) return emptyNote(view, 'no trial has a result yet');
  const draw = (t, style, alpha, thick) => {
    pen.strokeStyle = style; pen.globalAlpha = alpha; pen.lineWidth = thick;
    pen.beginPath();
    let down = false;
    axes.forEach((axis, i) => {
      const at = axis.place(t);
      if (at === null) { down = false; return; }
      down ? pen.lineTo(axisX(i, width), axisY(at, height)) : pen.moveTo(axisX(i, width), axisY(at, height));
      down = true;
    });
    pen.stroke();
  };
  if (chosen.length < lines.length) for (const t of thinned(lines, 600)) draw(t, color('--faint'), 0.06, 1);
  const shown = thinned(chosen).sort((a, b) => better(a.value, b.value) ? 1 : -1);
  const alpha = Math.max(0.08, Math.min(0.8, 90 / shown.length));
  for (const t of shown) draw(t, goodness(rankShare(t.value)), alpha, 1.2);
  if (best && chosen.includes(best)) draw(best, color('--good'), 1, 2.5);
  pen.globalAlpha = 1;
  axes.forEach((axis, i) => {
    const x = axisX(i, width);
    pen.strokeStyle = color('--soft'); pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(x, axisY(0, height)); pen.lineTo(x, axisY(1, height)); pen.stroke();
    pen.fillStyle = color('--ink'); pen.textAlign = 'center';
    const room = Math.max(6, Math.floor((width - 110) / Math.max(1, axes.length - 1) / 6.6));
    pen.fillText(axis.name.length > room ? `…${axis.name.slice(1 - room)}` : axis.name, x, i % 2 && axes.length > 9 ? 26 : 14);
    pen.fillStyle = color('--soft'); pen.textAlign = 'left';
    for (const [at, text] of axis.ticks.slice(0, 24)) if (at >= -0.001 && at <= 1.001) haloed(pen, String(text).slice(0, 12), x + 5, axisY(at, height) + 4);
    const range = selection.ranges.get(axis);
    if (range) {
      pen.fillStyle = color('--accent'); pen.globalAlpha = 0.3;
      pen.fillRect(x - 8, axisY(range[1], height), 16, axisY(range[0], height) - axisY(range[1], height));
      pen.globalAlpha = 1;
    }
  });
}
function brushParallel() {
  const canvas = document.getElementById('parallel');
  let drag = null;
  const shareAt = y => Math.max(0, Math.min(1, (canvas.clientHeight - band.bottom - y) / (canvas.clientHeight - band.top - band.bottom)));
  canvas.addEventListener('mousedown', event => {
    const width = canvas.clientWidth, i = axes.findIndex((_, k) => Math.abs(axisX(k, width) - event.offsetX) < 18);
    if (i >= 0) drag = { axis: axes[i], from: shareAt(event.offsetY) };
  });
  canvas.addEventListener('mousemove', event => {
    if (!drag) return;
    const to = shareAt(event.offsetY);
    selection.ranges.set(drag.axis, [Math.min(drag.from, to), Math.max(drag.from, to)]);
    requestAnimationFrame(drawParallel);
  });
  window.addEventListener('mouseup', () => {
    if (!drag) return;
    const range = selection.ranges.get(drag.axis);
    if (!range || range[1] - range[0] < 0.01) selection.ranges.delete(drag.axis);
    drag = null;
    selectionChanged();
  });
}
