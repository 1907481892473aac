"use strict";

// Plays a game: asks the server for one tick after the other, draws what it answers, and moves the
// sprites from where they were to where they are. <html data-state> says how things stand:
// loading, ready, running, paused, over; data-busy is there while the server is being asked.
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const canvas = $("canvas");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const REACH = 12; // tenths of a tile a sprite may have moved to be taken for the same
  const STEP = 0.05; // of difficulty, up on a win and down on a loss
  const BUTTONS = 150; // pixels that the level's title and the buttons below the board take
  const KEYS = {
    ArrowLeft: "ACTION_LEFT", KeyA: "ACTION_LEFT", ArrowRight: "ACTION_RIGHT", KeyD: "ACTION_RIGHT",
    ArrowUp: "ACTION_UP", KeyW: "ACTION_UP", ArrowDown: "ACTION_DOWN", KeyS: "ACTION_DOWN",
    Space: "ACTION_USE",
  };
  const COMMANDS = { KeyP: "play", Period: "step", KeyR: "again", KeyN: "next" };

  let game = null;
  const atlas = new Image();
  let episode = null; // as the server began it
  let view = null; // its last answer
  let paths = []; // [picture, from x, from y, to x, to y]
  let arrived = 0; // when that answer came
  let driver = "me"; // me, agent or replay
  let running = false;
  let working = Promise.resolve(); // what the server was asked last
  let unanswered = 0;
  let due = 0; // when the next tick is to be played
  let held = []; // actions of keys that are down, the last pressed last
  let tapped = null; // pressed since the last tick, and perhaps released already
  let wish = null; // what the present level was asked by

  // The server.

  async function ask(path, body) {
    const options = body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    };
    const answer = await fetch(path, { cache: "no-store", ...options });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(found.error ?? `The server answered ${answer.status}.`);
    return found;
  }

  function complain(error) {
    const lost = error instanceof TypeError;
    $("problem").textContent = lost ? "The server does not answer. Is sidle play still running?" : error.message;
    $("problem").hidden = false;
  }

  // Does one thing after the other; what is asked for meanwhile waits.
  function attempt(work) {
    const count = (change) => {
      unanswered += change;
      root.toggleAttribute("data-busy", unanswered > 0);
    };
    count(1);
    working = working.then(async () => {
      try {
        await work();
        $("problem").hidden = true;
      } catch (error) {
        run(false);
        complain(error);
      } finally {
        count(-1);
      }
    });
    return working;
  }

  // Episodes.

  const begin = (asked, as = driver) => attempt(async () => {
    const begun = await ask("episodes", asked);
    if (!("again" in asked)) wish = "recording" in asked ? { recording: true } : asked;
    episode = begun;
    held = held.filter(() => false);
    tapped = null;
    driver = begun.replay !== null ? "replay" : as === "replay" ? "me" : as;
    if ($("agent")) $("agent").checked = driver === "agent";
    if ("level" in asked) $("level").value = asked.level;
    if ("difficulty" in asked) showDifficulty(asked.difficulty);
    $("level-title").textContent = begun.title;
    canvas.setAttribute("aria-label", `${game.title}. ${begun.title}`);
    $("curtain").hidden = true;
    $("verdict").textContent = "";
    $("verdict").className = "";
    show(begun, true);
    fit();
    run(driver !== "me");
    $("invitation").hidden = driver !== "me";
    if (driver === "me") root.dataset.state = "ready";
  });

  function next() {
    if (wish && "difficulty" in wish) return begin({ difficulty: difficulty() });
    const level = wish && "level" in wish ? wish.level : -1;
    return begin({ level: (level + 1) % game.levels });
  }

  const tick = (action) => attempt(async () => {
    if (!view || view.over) return;
    const asked = driver === "me" ? action : driver;
    show(await ask(`episodes/${episode.id}/step`, { tick: view.tick, action: asked }), false);
    if (view.over) end();
    else if (driver === "replay" && view.tick >= episode.replay) endReplay();
  });

  function end() {
    run(false);
    root.dataset.state = "over";
    const replayed = driver === "replay";
    for (const [id, text] of [
      ["word", view.won ? "Won" : "Lost"],
      ["verdict", view.won ? "won" : "lost"],
      ["detail", replayed ? "The replay ended as recorded." : `Score ${signed(view.score)} after ${view.tick} ticks`],
    ]) $(id).textContent = text;
    $("word").className = `word ${view.won ? "won" : "lost"}`;
    $("verdict").className = `chip ${view.won ? "holds" : "does-not-hold"}`;
    $("curtain").hidden = false;
    if (!replayed && wish && "difficulty" in wish && $("progressive")?.checked) {
      showDifficulty(Math.min(1, Math.max(0, difficulty() + (view.won ? STEP : -STEP))));
    }
  }

  function endReplay() {
    run(false);
    $("verdict").textContent = "replay ended as recorded";
    $("verdict").className = "chip undecided";
  }

  function run(on) {
    running = on && view !== null && !view.over;
    due = performance.now();
    if (view && !view.over) root.dataset.state = running ? "running" : "paused";
    $("play").textContent = running ? "Pause" : "Play";
    if (running) $("invitation").hidden = true;
  }

  // What is shown.

  function show(found, fresh) {
    paths = fresh ? found.sprites.map(([p, x, y]) => [p, x, y, x, y]) : matched(view.sprites, found.sprites);
    view = found;
    arrived = performance.now();
    $("score").textContent = signed(found.score);
    $("tick").textContent = found.tick;
    $("health-count").hidden = found.health === null;
    $("health").textContent = found.health ?? "";
    carry(found.carried);
    root.dataset.tick = found.tick;
  }

  const signed = (value) => String(value).replace("-", "\u2212");

  function carry(carried) {
    const list = $("carried");
    if (list.children.length !== carried.length) {
      list.replaceChildren(...carried.map(([picture, name]) => {
        const item = document.createElement("li");
        item.title = name;
        const label = document.createElement("span");
        label.className = "visually-hidden";
        label.textContent = name;
        item.append(icon(picture, 2), label, document.createElement("span"));
        return item;
      }));
    }
    carried.forEach(([, , amount], i) => { list.children[i].lastChild.textContent = amount; });
  }

  function typeOf(picture) {
    let type = 0;
    while (type + 1 < game.types.length && game.types[type + 1] <= picture) type += 1;
    return type;
  }

  // Says where each sprite came from. The server tells places, not who is who: a sprite is taken for
  // the nearest of its type that has not been taken yet.
  function matched(before, after) {
    const rest = new Map();
    for (const [picture, x, y] of before) {
      const type = typeOf(picture);
      if (!rest.has(type)) rest.set(type, new Map());
      const places = rest.get(type);
      const key = `${x},${y}`;
      places.set(key, { x, y, count: (places.get(key)?.count ?? 0) + 1 });
    }
    const take = (places, key) => {
      const place = places.get(key);
      if (place.count > 1) place.count -= 1;
      else places.delete(key);
      return place;
    };
    const made = after.map(([picture, x, y]) => [picture, x, y, x, y]);
    const moved = made.filter(([picture, x, y]) => {
      const places = rest.get(typeOf(picture));
      if (!places?.has(`${x},${y}`)) return true;
      take(places, `${x},${y}`);
      return false;
    });
    for (const path of moved) {
      const places = rest.get(typeOf(path[0]));
      let nearest = null;
      let least = REACH + 1;
      for (const [key, { x, y }] of places ?? []) {
        const distance = Math.abs(x - path[3]) + Math.abs(y - path[4]);
        if (distance < least) [nearest, least] = [key, distance];
      }
      if (nearest !== null) [path[1], path[2]] = Object.values(take(places, nearest));
    }
    return made;
  }

  function paste(context, picture, x, y, size) {
    const { tile, columns } = game.atlas;
    const [left, top] = [(picture % columns) * tile, Math.floor(picture / columns) * tile];
    context.drawImage(atlas, left, top, tile, tile, x, y, size, size);
  }

  function icon(picture, dense) {
    const made = document.createElement("canvas");
    made.width = made.height = 28 * dense;
    const context = made.getContext("2d");
    context.imageSmoothingQuality = "high";
    paste(context, game.empty, 0, 0, made.width);
    paste(context, picture, 0, 0, made.width);
    return made;
  }

  // Chooses the size of a tile: whole pixels of the screen, as many as there is room for. Below the
  // board there shall be room for its buttons, unless that would leave it less than half the window.
  function fit() {
    if (!episode) return;
    const stage = canvas.parentElement;
    const style = getComputedStyle(stage);
    const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const below = innerHeight - (stage.getBoundingClientRect().top + scrollY) - BUTTONS;
    const height = Math.max(220, 0.5 * innerHeight, Math.min(0.68 * innerHeight, below));
    const dense = devicePixelRatio || 1;
    const tile = Math.max(4, Math.floor(dense * Math.min(width / episode.width, height / episode.height, 64)));
    canvas.width = tile * episode.width;
    canvas.height = tile * episode.height;
    canvas.style.width = `${canvas.width / dense}px`;
    canvas.style.height = `${canvas.height / dense}px`;
    draw(1);
  }

  function draw(share) {
    if (!view) return;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const tile = canvas.width / episode.width;
    for (let y = 0; y < episode.height; y += 1) {
      for (let x = 0; x < episode.width; x += 1) paste(context, game.empty, x * tile, y * tile, tile);
    }
    const unit = tile / game.tile;
    for (const [picture, x0, y0, x1, y1] of paths) {
      const [x, y] = [x0 + share * (x1 - x0), y0 + share * (y1 - y0)];
      paste(context, picture, Math.round(x * unit), Math.round(y * unit), tile);
    }
  }

  const interval = () => 1000 / Number($("speed").value);

  function frame(now) {
    requestAnimationFrame(frame);
    if (!view) return;
    const waits = $("waits").checked && driver === "me";
    if (running && !waits && !unanswered && now >= due) {
      due = Math.max(due + interval(), now);
      tick(chosen());
    }
    const length = waits ? 110 : interval();
    draw(still.matches ? 1 : Math.min(1, (now - arrived) / length));
  }

  // What the player does.

  const number = (action) => Math.max(0, game.actions.indexOf(action));

  function chosen() {
    const action = tapped ?? held.at(-1);
    tapped = null;
    return action === undefined || action === null ? 0 : number(action);
  }

  function press(action) {
    if (!view || view.over || driver !== "me") return;
    if (!held.includes(action)) held.push(action);
    tapped = action;
    if ($("waits").checked) {
      if (!running) run(true);
      if (!unanswered) tick(chosen());
    } else if (root.dataset.state === "ready") run(true);
  }

  function release(action) {
    held = held.filter((other) => other !== action);
  }

  const DOES = {
    play: () => (view.over ? begin({ again: episode.id }) : run(!running)),
    step: () => { run(false); return tick(chosen()); },
    again: () => begin({ again: episode.id }),
    next,
    generate: () => begin({ difficulty: difficulty() }),
    save: () => attempt(async () => {
      const found = await ask(`episodes/${episode.id}/recording`);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(found)], { type: "application/json" }));
      link.download = `${game.name}-${view.tick}-ticks${view.over ? (view.won ? "-won" : "-lost") : ""}.json`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }),
  };

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !view) return;
    // A list takes letters and arrows, a slider takes arrows.
    if (event.target.closest?.("select")) return;
    if (event.code.startsWith("Arrow") && event.target.closest?.("input[type=range]")) return;
    const onButton = event.target.closest?.("button, a, input, label");
    if (KEYS[event.code]) {
      // Space and Enter on a button press the button.
      if (onButton && event.code === "Space") return;
      event.preventDefault();
      if (event.repeat && !$("waits").checked) return;
      press(KEYS[event.code]);
    } else if (COMMANDS[event.code] && !event.repeat) {
      event.preventDefault();
      DOES[COMMANDS[event.code]]();
    } else if (event.code === "Enter" && view.over && !onButton) next();
  });
  addEventListener("keyup", (event) => {
    if (KEYS[event.code]) release(KEYS[event.code]);
  });
  addEventListener("blur", () => { held = []; });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && running) run(false);
  });

  for (const button of document.querySelectorAll("[data-does]")) {
    button.addEventListener("click", (event) => {
      if (!view) return;
      DOES[button.dataset.does]();
      // After a click the keys belong to the game; who came by keyboard stays where they are.
      if (event.detail > 0) canvas.focus({ preventScroll: true });
    });
  }
  for (const button of document.querySelectorAll("[data-action]")) {
    const let_go = () => {
      button.classList.remove("held");
      release(button.dataset.action);
    };
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      button.setPointerCapture(event.pointerId);
      button.classList.add("held");
      press(button.dataset.action);
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      button.addEventListener(kind, let_go);
    }
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("keydown", (event) => {
      if (event.code !== "Enter" && event.code !== "Space") return;
      event.preventDefault();
      event.stopPropagation();
      press(button.dataset.action);
      release(button.dataset.action);
    });
  }

  const difficulty = () => Number($("difficulty").value);

  function showDifficulty(value) {
    $("difficulty").value = value;
    $("difficulty-value").textContent = Number(value).toFixed(2);
  }

  $("difficulty")?.addEventListener("input", () => showDifficulty(difficulty()));
  $("difficulty")?.addEventListener("change", () => begin({ difficulty: difficulty() }));
  for (const slider of document.querySelectorAll("input[type=range]")) {
    slider.addEventListener("pointerup", () => canvas.focus({ preventScroll: true }));
  }
  $("speed").addEventListener("input", () => { $("speed-value").textContent = $("speed").value; });
  $("level").addEventListener("change", () => {
    begin({ level: Number($("level").value) });
    canvas.focus({ preventScroll: true });
  });
  $("agent")?.addEventListener("change", () => {
    driver = $("agent").checked ? "agent" : "me";
    if (view?.over && driver === "agent") begin({ again: episode.id });
    else run(driver === "agent");
  });
  $("watch").addEventListener("change", async () => {
    const [file] = $("watch").files;
    $("watch").value = "";
    if (!file) return;
    try {
      begin({ recording: JSON.parse(await file.text()) });
    } catch {
      complain(new Error(`${file.name} is no recording: it holds no JSON.`));
    }
  });

  new ResizeObserver(fit).observe(canvas.parentElement);

  (async () => {
    try {
      game = await ask("game");
      atlas.src = "atlas.png";
      await atlas.decode();
      game.empty = game.pictures;
      $("legend").replaceChildren(...game.legend.map(([picture, name]) => {
        const item = document.createElement("li");
        item.append(icon(picture, 2), name);
        return item;
      }));
      const uses = game.actions.includes("ACTION_USE");
      $("use-key").hidden = !uses;
      document.querySelector(".pad .use").hidden = !uses;
      for (const button of document.querySelectorAll(".pad button")) {
        button.disabled = !game.actions.includes(button.dataset.action);
      }
      if (matchMedia("(pointer: coarse)").matches) $("invitation").textContent = "Tap an arrow to begin";
      canvas.focus({ preventScroll: true });
      await begin(game.start, game.agent === null ? "me" : "agent");
      requestAnimationFrame(frame);
    } catch (error) {
      complain(error);
    }
  })();
})();
