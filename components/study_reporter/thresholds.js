(() => {
  const slider = document.getElementById("pooled-threshold");
  const pooled = JSON.parse(document.getElementById("pooled-counts").textContent);
  const shown = document.getElementById("pooled-shown");
  const rows = document.querySelectorAll("tr[data-pooled]");

  const figures = (counts, place) => {
    const [tp, fp, tn, fn] = ["tp", "fp", "tn", "fn"].map((name) => counts[name][place]);
    return {
      tp, fp, tn, fn,
      recall: tp / (tp + fn),
      precision: tp + fp ? tp / (tp + fp) : null,
      f1: (2 * tp) / (2 * tp + fp + fn),
    };
  };

  const text = (name, value) => {
    if (value === null) return "–";
    if (["tp", "fp", "tn", "fn"].includes(name)) return value.toLocaleString("en-US");
    let digits = 3;
    while (digits < 6 && value !== 0 && value !== 1 && [0, 1].includes(+value.toFixed(digits))) digits++;
    return value.toFixed(digits);
  };

  const show = () => {
    const place = Number(slider.value) - 1;
    shown.textContent = pooled.thresholds[place].toFixed(2);
    for (const row of rows) {
      const [split, arm] = JSON.parse(row.dataset.pooled);
      const found = figures(pooled.splits[split][arm], place);
      for (const cell of row.querySelectorAll("[data-figure]")) {
        const name = cell.dataset.figure;
        cell.firstChild.textContent = text(name, found[name]);
        const of = { tp: found.tp + found.fn, fn: found.tp + found.fn, fp: found.fp + found.tn, tn: found.fp + found.tn }[name];
        if (of) cell.style.setProperty("--share", found[name] / of);
      }
    }
  };

  slider.addEventListener("input", show);
  show();
})();
