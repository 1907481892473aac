"use strict";

// Draws the figures in the colours of the page, one after the other, and again when the scheme,
// the width or the medium changes. When all are drawn, <html data-figures="drawn"> says so.
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const coarse = window.matchMedia("(pointer: coarse)");
  const PRINT_WIDTH = 660;
  const NARROWEST = 240;
  const ROOM = 800; // around the field before its surroundings are known: plotly fails on too little
  const TURNED_LABEL = 160;
  const LONGEST_WORD = 24;
  const CHARACTER = 7.5; // pixels, about, at 13 pixels a line
  let printing = false;

  const scheme = () => (dark.matches && !printing ? "dark" : "light");

  function recoloured(value) {
    if (typeof value === "string") {
      return Object.hasOwn(themes.dark_colours, value) ? themes.dark_colours[value] : value;
    }
    if (Array.isArray(value)) return value.map(recoloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, recoloured(part)]));
  }

  // Plotly breaks no lines by itself. Text comes escaped, so an entity counts as one character;
  // a word is cut only where it is longer than words should be.
  function wrapped(text, limit) {
    const lines = [];
    for (const line of text.split("<br>")) {
      lines.push([]);
      for (const word of line.split(" ")) {
        const letters = word.match(/&\w+;|[^]/gu) ?? [];
        const filled = lines.at(-1).length;
        if (filled && filled + 1 + letters.length > limit) lines.push([]);
        else if (filled) lines.at(-1).push(" ");
        for (const letter of letters) {
          if (lines.at(-1).length >= Math.max(limit, LONGEST_WORD)) lines.push([]);
          lines.at(-1).push(letter);
        }
      }
    }
    return lines.map((letters) => letters.join("")).join("<br>");
  }

  const widthOf = (line) => 0.9 * CHARACTER * line.replace(/&\w+;/g, "&").length;

  // Gives names, titles and categories as many characters a line as fit.
  function fitted({ data, layout }, width, field) {
    const fit = (text, pixels) => wrapped(text, Math.max(10, Math.floor(pixels / CHARACTER)));
    const categories = (letter) => [
      ...new Set(
        data.flatMap((trace) => trace[letter] ?? []).filter((value) => typeof value === "string"),
      ),
    ];
    const axis = (letter, forTitle, forLabels) => {
      const made = { ...layout[`${letter}axis`] };
      if (made.title?.text) made.title = { ...made.title, text: fit(made.title.text, forTitle) };
      const labels = made.ticktext ?? categories(letter);
      if (!labels.length) return made;
      const pixels = forLabels(labels.length);
      let broken = labels.map((label) => fit(label, pixels));
      const longest = Math.max(...broken.flatMap((label) => label.split("<br>")).map(widthOf));
      const turned = letter === "x" && longest > pixels;
      if (turned) broken = labels.map((label) => fit(label, TURNED_LABEL));
      made.tickangle = turned ? -90 : 0;
      if (made.ticktext) made.ticktext = broken;
      else made.labelalias = Object.fromEntries(labels.map((label, i) => [label, broken[i]]));
      return made;
    };
    const besideLabels = categories("y").length || layout.yaxis?.ticktext ? 0.6 * width : width - 90;
    return {
      data: data.map((trace) =>
        trace.name === undefined ? trace : { ...trace, name: fit(trace.name, width - 60) },
      ),
      layout: {
        ...layout,
        xaxis: axis("x", besideLabels, (count) => (width - 90) / count),
        yaxis: axis("y", field, () => 0.35 * width),
      },
    };
  }

  async function draw(plot) {
    const written = JSON.parse(document.getElementById(`${plot.id}-data`).textContent);
    const room = printing ? PRINT_WIDTH : plot.clientWidth;
    const width = Math.max(room, NARROWEST);
    // Height between the axes, whatever surrounds them; many categories get a line each.
    const lines = written.layout.yaxis.ticktext?.length ?? 0;
    const field = Math.max(width < 520 ? 230 : 320, 22 * lines);
    const inScheme = scheme() === "dark" ? recoloured(written) : written;
    const { data, layout } = fitted(inScheme, width, field);
    const drawn = {
      ...layout,
      template: themes.templates[scheme()],
      width,
      height: field + ROOM,
      // A finger on a plot scrolls the page; only a mouse zooms.
      dragmode: coarse.matches ? false : "zoom",
      uirevision: "kept",
    };
    const config = {
      displaylogo: false,
      displayModeBar: coarse.matches ? false : "hover",
      modeBarButtons: [["toImage", "resetScale2d"]],
    };
    plot.dataset.width = room;
    await Plotly.react(plot, data, drawn, config);
    // Now that labels and legend have taken their room, give the field what it lacks.
    const area = plot.querySelector(".nsewdrag");
    if (area) {
      await Plotly.relayout(plot, { height: drawn.height + field - area.height.baseVal.value });
    }
    plot.style.minHeight = "0";
  }

  // A plot not drawn yet will be drawn at the width it then has; one without a width is hidden.
  function isOutOfDate({ dataset, clientWidth }) {
    return clientWidth > 0 && dataset.width !== undefined && Number(dataset.width) !== clientWidth;
  }

  async function drawAll() {
    document.documentElement.dataset.figures = "drawing";
    for (const plot of plots) {
      try {
        await draw(plot);
      } catch (error) {
        plot.textContent = "This figure could not be drawn.";
        console.error(error);
      }
      await new Promise((resume) => setTimeout(resume));
    }
    document.documentElement.dataset.figures = "drawn";
  }

  // One drawing of the page at a time; a change while drawing asks for one more.
  let running = null;
  let again = false;
  async function refresh() {
    again = true;
    if (running) return;
    while (again) {
      again = false;
      running = drawAll();
      await running;
    }
    running = null;
  }

  dark.addEventListener("change", refresh);
  new ResizeObserver(() => {
    if (!printing && plots.some(isOutOfDate)) refresh();
  }).observe(document.getElementById("content"));
  window.addEventListener("beforeprint", () => {
    printing = true;
    plots.forEach(draw);
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    refresh();
  });
  refresh();
})();

// Buttons that copy a command.
(() => {
  async function copy(source) {
    try {
      await navigator.clipboard.writeText(source.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(source);
      return false;
    }
  }
  for (const button of document.querySelectorAll("button[data-copies]")) {
    const status = button.parentElement.querySelector("[role=status]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copy(document.getElementById(button.dataset.copies));
      button.textContent = done ? "Copied" : "Selected";
      status.textContent = done ? "Command copied" : "Command selected; copy it with the keyboard";
      setTimeout(() => {
        button.textContent = "Copy";
        status.textContent = "";
      }, 2000);
    });
  }
})();

// The contents show which section is being read.
(() => {
  const links = new Map(
    [...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]),
  );
  const sections = [...links.keys()].map((id) => document.getElementById(id));
  let waiting = false;
  function mark() {
    waiting = false;
    const line = window.innerHeight / 3;
    const begun = sections.filter((section) => section.getBoundingClientRect().top <= line);
    const current = (begun.at(-1) ?? sections[0]).id;
    for (const [id, link] of links) {
      if (id === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
  function markSoon() {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  }
  addEventListener("scroll", markSoon, { passive: true });
  addEventListener("resize", markSoon);
  mark();
})();
