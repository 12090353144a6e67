(() => {
  const slider = document.getElementById("threshold");
  const shown = document.getElementById("threshold-shown");
  const where = document.getElementById("threshold-where");
  const counts = JSON.parse(document.getElementById("threshold-counts").textContent);
  const balances = document.querySelectorAll("[data-balance]");
  const moves = document.querySelectorAll("[data-moves]");
  const COUNTS = ["tp", "fn", "fp", "tn"];

  const figures = (index, prevalence) => {
    const recall = counts.tp[index] / counts.positives;
    const falsePositiveRate = counts.fp[index] / counts.negatives;
    const positives = 1000 * prevalence;
    const negatives = 1000 * (1 - prevalence);
    const tp = positives * recall;
    const fn = positives * (1 - recall);
    const fp = negatives * falsePositiveRate;
    const tn = negatives * (1 - falsePositiveRate);
    const alerts = tp + fp;
    return {
      tp, fn, fp, tn, alerts, recall,
      threshold: counts.thresholds[index],
      precision: alerts ? tp / alerts : null,
      f1: (2 * tp) / (alerts + positives),
      cost: counts.costs && counts.costs.missed * fn + counts.costs.false_alarm * fp,
    };
  };

  const images = (index) => ({
    tp: counts.tp[index],
    fn: counts.positives - counts.tp[index],
    fp: counts.fp[index],
    tn: counts.negatives - counts.fp[index],
  });

  const rate = (value) => {
    if (value === null) return "–";
    let digits = 3;
    while (digits < 6 && value !== 0 && value !== 1 && [0, 1].includes(+value.toFixed(digits))) digits++;
    return value.toFixed(digits);
  };

  const amount = (value) => {
    if (value === null) return "–";
    let digits = 1;
    while (digits < 6 && value !== 0 && +value.toFixed(digits) === 0) digits++;
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };

  const text = (name, value, isCount) => {
    if (["recall", "precision", "f1"].includes(name)) return rate(value);
    return isCount ? value.toLocaleString("en-US") : amount(value);
  };

  const showBalance = (element, index) => {
    const { balance } = element.dataset;
    const current = figures(index, counts.prevalences[balance]);
    const counted = balance === "test" ? images(index) : {};
    for (const cell of element.querySelectorAll("[data-figure]")) {
      const name = cell.dataset.figure;
      cell.textContent = text(name, counted[name] ?? current[name], name in counted);
      if (COUNTS.includes(name)) {
        const whole = ["tp", "fn"].includes(name) ? current.tp + current.fn : current.fp + current.tn;
        cell.parentElement.style.setProperty("--share", current[name] / whole);
      }
    }
  };

  // A drawing's own coordinates of a point in the units of its axes.
  const place = (svg, x, y) => {
    const [left, bottom, right, top] = svg.dataset.axes.split(" ").map(Number);
    const [x0, y0, x1, y1] = svg.dataset.limits.split(" ").map(Number);
    return [
      left + ((x - x0) / (x1 - x0)) * (right - left),
      bottom + ((y - y0) / (y1 - y0)) * (top - bottom),
    ];
  };

  const move = (group, current) => {
    const svg = group.closest("svg");
    const [x, y] = group.dataset.moves.split(" ");
    const isDefined = current[x] !== null && (!y || current[y] !== null);
    group.setAttribute("visibility", isDefined ? "visible" : "hidden");
    if (!isDefined) return;
    const drawn = group.dataset.at.split(" ").map(Number);
    const [fromX, fromY] = place(svg, ...drawn);
    const [toX, toY] = place(svg, current[x], y ? current[y] : drawn[1]);
    group.setAttribute("transform", `translate(${toX - fromX} ${toY - fromY})`);
  };

  const show = () => {
    const index = Number(slider.value);
    const threshold = counts.thresholds[index];
    shown.textContent = String(+threshold.toPrecision(4));
    where.textContent = index === counts.start ? "the model’s threshold" : `the model’s is ${+counts.thresholds[counts.start].toPrecision(4)}`;
    slider.setAttribute("aria-valuetext", `${shown.textContent}, ${where.textContent}`);
    for (const element of balances) showBalance(element, index);
    const current = figures(index, counts.prevalences.world);
    for (const group of moves) move(group, current);
  };

  slider.addEventListener("input", show);
  document.getElementById("threshold-reset").addEventListener("click", () => {
    slider.value = counts.start;
    show();
  });
  show();
})();
