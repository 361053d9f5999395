// The table: sorted, filtered, and only the rows in sight are in the document, so that ten thousand trials scroll.
'use strict';
const columns = [
  { name: 'trial', get: t => t.trial, number: true }, { name: 'state', get: t => t.state },
  { name: data.metric, get: t => t.value, number: true, isValue: true },
  { name: data.resource || 'resource', get: t => t.resource, number: true },
  { name: 'seconds', get: t => isNumber(t.ended) && isNumber(t.started) ? t.ended - t.started : null, number: true },
  { name: 'retries', get: t => t.retries, number: true }, { name: 'worker', get: t => t.worker },
  ...(trials.some(t => t.origin) ? [{ name: 'origin', get: t => t.origin }] : []),
  ...(data.keys || []).map(key => ({ name: key.name, get: t => t.params[key.name], number: key.kind !== 'choice' && key.kind !== 'order' })),
  ...(trials.some(t => t.reason) ? [{ name: 'why', get: t => t.reason || null }] : []),
];
const sorting = { column: columns[2], down: maximize };
const rowHeight = 29;
let rows = [];
// "failed", "lr > 0.01 state = complete": comparisons where a word names a column, else text found anywhere in the row.
function parseFilter(text) {
  const rest = text.replace(/([\w.\-]+)\s*(>=|<=|!=|==|=|>|<)\s*("[^"]*"|\S+)/g, (all, name, op, word) => {
    const column = columns.find(c => c.name === name || (name === 'value' && c.isValue)) || columns.find(c => c.name.endsWith(`.${name}`));
    if (!column) return all;
    tests.push({ column, op, word: word.replace(/^"|"$/g, '') });
    return '';
  });
  return rest.trim().toLowerCase().split(/\s+/).filter(Boolean);
}
let tests = [];
function holds({ column, op, word }, t) {
  const value = column.get(t);
  if (value === null || value === undefined) return false;
  const both = typeof value === 'number' && word !== '' && isFinite(word), a = both ? value : String(value), b = both ? Number(word) : word;
  switch (op) {
    case '>': return a > b;
    case '>=': return a >= b;
    case '<': return a < b;
    case '<=': return a <= b;
    case '!=': return a !== b;
    default: return a === b;
  }
}
function setFilter(text) {
  tests = [];
  const words = parseFilter(text);
  selection.text = text.trim();
  selection.accepts = selection.text === '' ? null : t => tests.every(test => holds(test, t)) && words.every(word =>
    columns.some(c => { const v = c.get(t); return v !== null && v !== undefined && String(v).toLowerCase().includes(word); }));
  selectionChanged();
}
function compare(a, b) {
  const x = sorting.column.get(a), y = sorting.column.get(b);
  const missing = v => v === null || v === undefined || (typeof v === 'number' && !isFinite(v));
  if (missing(x) || missing(y)) return missing(x) === missing(y) ? a.trial - b.trial : missing(x) ? 1 : -1;
  const order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
  return (sorting.down ? -order : order) || a.trial - b.trial;
}
function drawHead() {
  const head = document.querySelector('#table thead');
  head.replaceChildren();
  const row = head.insertRow();
  for (const column of columns) {
    const cell = document.createElement('th');
    cell.textContent = column.name + (sorting.column === column ? (sorting.down ? ' ▾' : ' ▴') : '');
    cell.className = column.number ? 'number' : '';
    cell.tabIndex = 0;
    cell.onclick = () => {
      sorting.down = sorting.column === column ? !sorting.down : column.isValue ? maximize : false;
      sorting.column = column;
      drawTable();
    };
    cell.onkeydown = event => { if (event.key === 'Enter') cell.onclick(); };
    row.append(cell);
  }
}
function drawTable() {
  drawHead();
  rows = trials.filter(isSelected).sort(compare);
  document.getElementById('table-count').textContent = rows.length === trials.length ? `${trials.length}` : `${rows.length} of ${trials.length}`;
  drawRows();
}
function drawRows() {
  const scroll = document.getElementById('table-scroll'), body = document.querySelector('#table tbody');
  const first = Math.max(0, Math.floor(scroll.scrollTop / rowHeight) - 5), last = Math.min(rows.length, first + Math.ceil(520 / rowHeight) + 12);
  body.replaceChildren();
  const spacer = count => { if (count > 0) { const cell = body.insertRow().insertCell(); cell.style.cssText = `height:${count * rowHeight}px;padding:0;border:0`; } };
  spacer(first);
  for (const t of rows.slice(first, last)) {
    const row = body.insertRow();
    if (t === best) row.className = 'best';
    row.dataset.trial = t.trial;
    row.onmouseenter = () => pointTo(t);
    row.onmouseleave = () => pointTo(null);
    for (const column of columns) {
      const cell = row.insertCell();
      cell.textContent = show(column.get(t));
      if (column.number) cell.className = 'number';
      if (column.name === 'why') { cell.className = 'reason'; cell.title = t.reason || ''; }
      if (column.name === 'state') cell.className = `state-${t.state}`;
    }
  }
  spacer(rows.length - last);
}
